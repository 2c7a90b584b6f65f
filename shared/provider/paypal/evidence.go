package paypal

import "github.com/tollgate/tollgate/shared/provider/wire"

// requestIDHeader is how PayPal names a request of ours, for its support.
const requestIDHeader = "Paypal-Debug-Id"

// kept is what may be kept of PayPal's replies: never a token, nor who the payer is.
var kept = wire.Mask{Shown: wire.Names(`
	id intent status reason issue name message error error_description debug_id field location
	value currency_code custom_id invoice_id reference_id
	dispute_id dispute_life_cycle_stage outcome_code affected_party type seller_transaction_id
	seller_response_due_date
	create_time update_time expiration_time event_type resource_type rel
	transaction_id transaction_event_code transaction_status transaction_initiation_date transaction_updated_date
	paypal_reference_id paypal_reference_id_type custom_field last_refreshed_datetime start_date end_date`)}
