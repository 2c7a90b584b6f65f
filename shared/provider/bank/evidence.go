package bank

import "github.com/tollgate/tollgate/shared/provider/wire"

// kept is what may be kept of GoCardless's replies: never a name, an address, an
// account number, or the page by which anybody could pay.
var kept = wire.Mask{
	Shown: wire.Names(`
		id type status action cause reason reason_code message field request_pointer code request_id
		currency scheme origin resource_type created_at charge_date expires_at
		billing_request billing_request_flow payment_request payment_request_payment payment refund
		creditor conflicting_resource_id after before webhook_id
		amount payout payout_type arrival_date fx_currency exchange_rate
		tollgate_payment tollgate_merchant tollgate_refund tollgate_obligation tollgate_reason`),
}
