package ledger

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestEveryKindBalances(t *testing.T) {
	t.Parallel()
	for _, k := range Kinds() {
		for _, amount := range []int64{700, -700} {
			var sum int64
			entries := Entries(k, amount)
			for _, e := range entries {
				sum += e.AmountMinor
			}
			if sum != 0 || len(entries) == 0 && k != Adjustment {
				t.Errorf("%s of %d: %v", k, amount, entries)
			}
			if back := Entries(k, -amount); !slices.Equal(Reversed(entries), back) {
				t.Errorf("%s of %d the other way is %v, want %v", k, amount, Reversed(entries), back)
			}
		}
		if none := Entries(k, 0); len(none) != 0 {
			t.Errorf("%s of nothing: %v", k, none)
		}
	}
}

func TestWhatAPostingDoesToAnAccount(t *testing.T) {
	t.Parallel()
	p := Posting{Entries: append(Entries(DisputeOpened, 40), Move(Payable, Fees, 2)...)}
	for account, want := range map[Account]int64{
		Disputes: 40, Receivable: -40, Payable: 42, DisputeReserve: -40, Fees: -2, Payouts: 0,
	} {
		if got := p.On(account); got != want {
			t.Errorf("%s: %d, want %d", account, got, want)
		}
	}
}

// The tables of README.md have every account and kind, and what the code posts.
func TestTheReadmeSaysWhatIsPosted(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| ([a-z_]+) \| ([^|\n]*) \|(?: ([^|\n]*) \| [^|\n]* \|)?$`)
	accounts, kinds := []Account{}, []Kind{}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		name, debit, credit := m[1], m[2], m[3]
		switch {
		case name == "account" || name == "kind":
		case credit == "":
			accounts = append(accounts, Account(name))
		default:
			kinds = append(kinds, Kind(name))
			if want := sides(Entries(Kind(name), 1)); want != "" && want != debit+" | "+credit {
				t.Errorf("%s: README.md says %q, posted is %q", name, debit+" | "+credit, want)
			}
		}
	}
	if !slices.Equal(accounts, Accounts()) {
		t.Errorf("README.md has the accounts %v, want %v", accounts, Accounts())
	}
	if !slices.Equal(kinds, Kinds()) {
		t.Errorf("README.md has the kinds %v, want %v", kinds, Kinds())
	}
}

// sides lists the accounts that are debited and credited, as the README's table does.
func sides(entries []Entry) string {
	var debits, credits []string
	for _, e := range entries {
		if e.AmountMinor > 0 {
			debits = append(debits, string(e.Account))
		} else {
			credits = append(credits, string(e.Account))
		}
	}
	if len(entries) == 0 {
		return ""
	}
	return strings.Join(debits, ", ") + " | " + strings.Join(credits, ", ")
}
