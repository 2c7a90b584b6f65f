package audit

import "github.com/tollgate/tollgate/shared/payment"

// Resealed gives a seal the head that its other members make.
func Resealed(s Seal) Seal {
	s.Head = s.sum()
	return s
}

// Statements are those that a test prepares.
func Statements() []string {
	statements := []string{
		selectRows, selectRow, selectSeals, selectLastSeal, insertSeal, selectLogMerchants, selectSealMerchants,
		selectLastClosed, selectPeriod, selectPass, insertPass, updatePass, selectDone, selectRebuildPage, selectLog,
	}
	for _, t := range payment.FoldedTables() {
		statements = append(statements, foldInto(t), selectFolded(t))
	}
	return statements
}
