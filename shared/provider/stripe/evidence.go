package stripe

import (
	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// kept is what may be kept of Stripe's replies: never a client secret, a name or an
// address.
var kept = wire.Mask{
	Shown: wire.Names(`
		id object type status code decline_code param message reason
		currency capture_method confirmation_method cancellation_reason
		payment_intent payment_method latest_charge charge balance_transaction failure_balance_transaction
		failure_code failure_message failure_reason pending_reason network_status risk_level seller_message
		brand last4 funding network api_version reporting_category source
		tollgate_payment tollgate_merchant tollgate_refund tollgate_obligation tollgate_reason`),
	Hidden: wire.Names(`exp_month exp_year`), // cardholder data
}

// evidenceOf is the reply as it may be stored. doubt is why it does not decide.
func evidenceOf(x *wire.Exchange, doubt error) provider.Evidence {
	e := kept.Evidence(x, "Request-Id", doubt)
	e.Replayed = replayed(x)
	return e
}

// replayed reports whether Stripe says that it repeats a stored answer.
func replayed(x *wire.Exchange) bool { return x.Header.Get("Idempotent-Replayed") == "true" }
