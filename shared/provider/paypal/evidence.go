package paypal

import "github.com/tollgate/tollgate/shared/provider/wire"

// requestIDHeader is how PayPal names a request of ours, for its support.
const requestIDHeader = "Paypal-Debug-Id"

// kept is what may be kept of PayPal's replies: never a token, nor who the payer is.
var kept = wire.Mask{Shown: wire.Names(`
	id intent status reason issue name message error error_description debug_id field location
	value currency_code custom_id invoice_id reference_id
	create_time update_time expiration_time event_type resource_type rel`)}
