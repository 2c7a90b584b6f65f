package ledger

import (
	"context"
	"errors"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/fault"
	"github.com/tollgate/tollgate/shared/id"
	"github.com/tollgate/tollgate/shared/money"
	"github.com/tollgate/tollgate/shared/postgres"
)

// Rounding says what becomes of a part of a minor unit.
type Rounding string

// The rounding rules. Each fee is rounded by itself: the sum of rounded fees is not the
// rounded fee of a sum, and providers' statements have the former.
const (
	HalfUp   Rounding = "half_up"   // to the nearer; up from the middle. So does Stripe: https://support.stripe.com/questions/what-rules-do-you-use-for-rounding-stripe-fees
	HalfEven Rounding = "half_even" // to the nearer; from the middle to the even one
	Up       Rounding = "up"
	Down     Rounding = "down"
)

// Roundings lists every rule.
func Roundings() []Rounding { return []Rounding{HalfUp, HalfEven, Up, Down} }

// basis is how many basis points a whole has.
const basis = 10_000

// Schedule is what a merchant pays at a provider in a currency, from a time on. Amounts
// are minor units. The zero Schedule charges nothing.
type Schedule struct {
	MerchantID       id.ID          `db:"merchant_id"`
	Provider         string         `db:"provider"`
	Currency         money.Currency `db:"currency"`
	BasisPoints      int64          `db:"basis_points"` // of each captured amount: 10,000 is all of it
	FixedMinor       int64          `db:"fixed_minor"`  // and this, for each capture
	Rounding         Rounding       `db:"rounding"`
	RefundReturnsFee bool           `db:"refund_returns_fee"` // in proportion, but for what disputes cost
	DisputeFeeMinor  int64          `db:"dispute_fee_minor"`  // when one is opened; it stays when it is won
	EffectiveFrom    time.Time      `db:"effective_from"`
	CreatedAt        time.Time      `db:"created_at"`
}

var errAmount = errors.New("ledger: a fee of what is negative, or out of range")

// Fee is what a capture of an amount costs. It may be more than the amount: the fixed part
// is. It fails for a negative amount, and when the fee is out of range.
func (s Schedule) Fee(amountMinor int64) (int64, error) {
	if s.BasisPoints == 0 {
		if amountMinor < 0 || s.FixedMinor < 0 {
			return 0, errAmount
		}
		return s.FixedMinor, nil
	}
	part, err := mulDiv(amountMinor, s.BasisPoints, basis, s.Rounding)
	if err != nil {
		return 0, err
	}
	return money.AddMinor(part, s.FixedMinor)
}

// Returned is how much of the fees of a payment's captures is given back when so much of
// what was captured has been refunded in all: in proportion, and never more than the fees.
// It is 0 when refunds give no fees back.
func (s Schedule) Returned(feesMinor, refundedMinor, capturedMinor int64) (int64, error) {
	switch {
	case !s.RefundReturnsFee || refundedMinor <= 0 || feesMinor <= 0:
		return 0, nil
	case refundedMinor >= capturedMinor:
		return feesMinor, nil
	}
	return mulDiv(feesMinor, refundedMinor, capturedMinor, s.Rounding)
}

// mulDiv is a * b / c, rounded, with 128 bits in between.
func mulDiv(a, b, c int64, by Rounding) (int64, error) {
	if a < 0 || b < 0 || c <= 0 {
		return 0, errAmount
	}
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi >= uint64(c) {
		return 0, errAmount // the quotient has more than 64 bits
	}
	q, r := bits.Div64(hi, lo, uint64(c))
	half := r - (uint64(c) - r) // above or below the middle: r against c - r
	up := false
	switch by {
	case Up:
		up = r > 0
	case Down:
	case HalfEven:
		up = int64(half) > 0 || half == 0 && q%2 == 1
	case HalfUp:
		up = int64(half) >= 0
	default:
		return 0, errors.New("ledger: no such rounding rule: " + string(by))
	}
	if up && r > 0 {
		q++
	}
	if q > math.MaxInt64 {
		return 0, errAmount
	}
	return int64(q), nil
}

const scheduleColumns = `merchant_id, provider, currency, basis_points, fixed_minor, rounding, refund_returns_fee,
	dispute_fee_minor, effective_from, created_at`

const selectSchedules = `
	SELECT DISTINCT ON (provider) ` + scheduleColumns + ` FROM fee_schedules
	WHERE merchant_id = $1 AND currency = $2 AND effective_from <= $3
	ORDER BY provider, effective_from DESC`

// Schedules are a merchant's in one currency at one time, by provider. A provider that is
// not in it costs nothing.
type Schedules map[string]Schedule

// QueueSchedules reads into dst the schedules that are in force at a time.
func QueueSchedules(b *pgx.Batch, merchant id.ID, currency money.Currency, at time.Time, dst *Schedules) {
	b.Queue(selectSchedules, merchant, currency, at).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Schedule])
		*dst = make(Schedules, len(all))
		for _, s := range all {
			(*dst)[s.Provider] = s
		}
		return err
	})
}

const insertSchedule = `
	INSERT INTO fee_schedules (` + scheduleColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`

// SetSchedule puts a schedule in force from its EffectiveFrom on. What was charged before
// stays as it is. It refuses, with invalid_request, values out of range and a time before
// now: a schedule never changes what was charged already.
func SetSchedule(ctx context.Context, db postgres.DB, s Schedule, now time.Time) error {
	if err := s.check(now); err != nil {
		return err
	}
	_, err := db.Exec(ctx, insertSchedule, s.MerchantID, s.Provider, s.Currency, s.BasisPoints, s.FixedMinor, s.Rounding,
		s.RefundReturnsFee, s.DisputeFeeMinor, s.EffectiveFrom, now)
	switch {
	case postgres.Violates(err, "fee_schedules_pkey"):
		return fault.Invalid("effective_from", "has a schedule already, which can't be changed; choose another time")
	case postgres.Violates(err, "fee_schedules_merchant_id_fkey"):
		return fault.New(fault.NotFound, "There is no such merchant.")
	}
	return fault.Wrap(err, "set the fee schedule")
}

// maxFixed bounds the parts of a fee that do not depend on the amount.
const maxFixed = money.MaxAmountMinor

func (s Schedule) check(now time.Time) error {
	switch {
	case s.Provider == "":
		return fault.Invalid("provider", "must be named")
	case s.Currency.IsZero():
		return fault.Invalid("currency", "must be named")
	case s.BasisPoints < 0 || s.BasisPoints > basis:
		return fault.Invalid("basis_points", "must be from 0 to %d, which is the whole amount", basis)
	case s.FixedMinor < 0 || s.FixedMinor > maxFixed:
		return fault.Invalid("fixed_minor", "must be from 0 to %d minor units", maxFixed)
	case s.DisputeFeeMinor < 0 || s.DisputeFeeMinor > maxFixed:
		return fault.Invalid("dispute_fee_minor", "must be from 0 to %d minor units", maxFixed)
	case !slices.Contains(Roundings(), s.Rounding):
		return fault.Invalid("rounding", "must be one of %v", Roundings())
	case s.EffectiveFrom.Before(now):
		return fault.Invalid("effective_from", "must not be in the past: what was charged already stays as it is")
	}
	return nil
}

const listSchedules = `
	SELECT ` + scheduleColumns + ` FROM fee_schedules WHERE merchant_id = $1
	ORDER BY provider, currency, effective_from DESC`

// ListSchedules lists all schedules of a merchant: past, in force and to come.
func ListSchedules(ctx context.Context, db postgres.DB, merchant id.ID) ([]Schedule, error) {
	rows, _ := db.Query(ctx, listSchedules, merchant) // CollectRows returns the error
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[Schedule])
	return all, fault.Wrap(err, "list the fee schedules")
}
