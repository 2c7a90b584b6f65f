package event

import (
	"encoding/json"
	"sync"
)

// entry is what the catalogue says of a type; its schema and example are made from that.
type entry struct {
	name    string
	object  string
	data    []string // the members of its data
	summary string
	example string // how the example's data differ from the examples of their objects
}

var (
	ofPayment    = []string{"payment"}
	ofRefund     = []string{"payment", "refund"}
	ofDispute    = []string{"payment", "dispute"}
	ofSettlement = []string{"settlement"}
	ofEndpoint   = []string{"endpoint"}
)

var entries = []entry{
	{
		PaymentRequiresAction, "payment", ofPayment,
		"The payer has to act before the payment can go on: send them to `next_action`.",
		`{"payment":{"status":"PENDING","previous_status":null,"authorized_amount":0,"pending_operation":"authorize",
			"return_url":"https://shop.example/back","capture_before":null,
			"next_action":{"type":"redirect_to_url","redirect_url":"https://hooks.stripe.com/3d_secure_2/hosted"}}}`,
	},
	{
		PaymentAuthorized, "payment", ofPayment,
		"The amount is held for you: capture it before `capture_before`. Not sent for payments that are captured with their authorization.",
		`{"payment":{}}`,
	},
	{
		PaymentCaptured, "payment", ofPayment,
		"Money was captured; `captured_amount` is all of it so far. Sent for each capture of a payment.",
		`{"payment":{"status":"CAPTURED","previous_status":"AUTHORIZED","captured_amount":5000,"refundable_amount":5000,
			"version":3,"sequence":2,"updated_at":"2026-11-02T09:20:00.511Z"}}`,
	},
	{
		PaymentCaptureFailed, "payment", ofPayment,
		"A capture was refused, and `failure` says why. The payment keeps its status: capture again, or cancel.",
		`{"payment":{"version":3,"sequence":2,"updated_at":"2026-11-02T09:20:00.511Z",
			"failure":{"code":"declined","message":"The bank declined the capture.","provider_code":"generic_decline"}}}`,
	},
	{
		PaymentSettled, "payment", ofPayment,
		"What was captured is in a settlement; `settlement.completed` tells of that one. What is captured, refunded or disputed later goes into later settlements.",
		`{"payment":{"status":"SETTLED","previous_status":"CAPTURED","captured_amount":5000,"refundable_amount":5000,
			"version":4,"sequence":3,"updated_at":"2026-11-02T17:00:12.3Z"}}`,
	},
	{
		PaymentFailed, "payment", ofPayment,
		"The payment has failed for good, and `failure` says why.",
		`{"payment":{"status":"FAILED","authorized_amount":0,"capture_before":null,
			"failure":{"code":"insufficient_funds","message":"The card has insufficient funds.","provider_code":"insufficient_funds"}}}`,
	},
	{
		PaymentCanceled, "payment", ofPayment,
		"The payment was canceled: by you, by the end of its authorization, or because it could not be sent in time.",
		`{"payment":{"status":"CANCELED","previous_status":"AUTHORIZED","version":3,"sequence":2,"updated_at":"2026-11-02T09:20:00.511Z"}}`,
	},
	{
		PaymentRefunded, "payment", ofPayment,
		"All that was captured has been refunded. Follows the `refund.succeeded` that did it.",
		`{"payment":{"status":"REFUNDED","previous_status":"CAPTURED","captured_amount":5000,"refunded_amount":5000,
			"version":5,"sequence":5,"updated_at":"2026-11-02T09:30:01Z"}}`,
	},
	{
		PaymentDisputed, "payment", ofPayment,
		"Money was taken back from you after its capture, by a chargeback or a late failure; `disputed_amount` is all of it so far. " +
			"It can't be refunded while the dispute is open, or when it is lost. The status stays: what became of the sale is between you and the payer. " +
			"Follows the `dispute.opened` that tells why.",
		`{"payment":{"status":"CAPTURED","previous_status":"PENDING","captured_amount":5000,"disputed_amount":5000,"capture_method":"automatic",
			"provider":"bank","provider_transaction_id":"BRQ000010NMDMH2","payment_method":"bank_transfer","payment_method_type":"bank_transfer",
			"route":{"reason":"payment_method","candidates":[{"provider":"bank","payment_method_type":"bank_transfer","state":"chosen","reason":null}]},
			"capture_before":null,"version":5,"sequence":3,"updated_at":"2026-11-05T06:00:00.08Z"}}`,
	},
	{
		RefundCreated, "refund", ofRefund,
		"A refund was begun, by you or at the provider.",
		`{"payment":{"status":"CAPTURED","previous_status":"AUTHORIZED","captured_amount":5000,"refundable_amount":4000,"pending_operation":"refund",
			"version":4,"sequence":3,"updated_at":"2026-11-02T09:30:00Z"},"refund":{}}`,
	},
	{
		RefundSucceeded, "refund", ofRefund,
		"A refund succeeded.",
		`{"payment":{"status":"CAPTURED","previous_status":"AUTHORIZED","captured_amount":5000,"refunded_amount":1000,"refundable_amount":4000,
			"version":5,"sequence":4,"updated_at":"2026-11-02T09:30:01Z"},
			"refund":{"status":"SUCCEEDED","provider_refund_id":"re_3MtwBwLkdIwHu7ix0aBcDeFg","updated_at":"2026-11-02T09:30:01Z"}}`,
	},
	{
		RefundFailed, "refund", ofRefund,
		"A refund failed, or was canceled, and `failure` says why; its amount can be refunded again. It may have succeeded before: a payment that was REFUNDED then has its former status back.",
		`{"payment":{"status":"CAPTURED","previous_status":"AUTHORIZED","captured_amount":5000,"refundable_amount":5000,
			"version":5,"sequence":4,"updated_at":"2026-11-02T09:30:01Z"},
			"refund":{"status":"FAILED","provider_refund_id":"re_3MtwBwLkdIwHu7ix0aBcDeFg","updated_at":"2026-11-02T09:30:01Z",
			"failure":{"code":"account_closed","message":"The payer's account is closed.","provider_code":"lost_or_stolen_card"}}}`,
	},
	{
		DisputeOpened, "dispute", ofDispute,
		"The payer contests the payment at their bank or at the provider, and the provider has taken the amount from you for the time being. " +
			"Answer at the provider before `respond_by`.",
		`{"payment":{"status":"CAPTURED","previous_status":"AUTHORIZED","captured_amount":5000,"disputed_amount":5000,
			"version":4,"sequence":4,"updated_at":"2026-11-12T14:05:00Z"},"dispute":{}}`,
	},
	{
		DisputeWon, "dispute", ofDispute,
		"A dispute was decided for you, or given up: the money is yours again, and can be refunded.",
		`{"payment":{"status":"CAPTURED","previous_status":"AUTHORIZED","captured_amount":5000,"refundable_amount":5000,
			"version":5,"sequence":5,"updated_at":"2026-12-01T08:00:00Z"},
			"dispute":{"status":"WON","updated_at":"2026-12-01T08:00:00Z"}}`,
	},
	{
		DisputeLost, "dispute", ofDispute,
		"A dispute was decided for the payer: the money is gone. What can't be contested is lost as soon as it is opened.",
		`{"payment":{"status":"CAPTURED","previous_status":"AUTHORIZED","captured_amount":5000,"disputed_amount":5000,
			"version":5,"sequence":5,"updated_at":"2026-12-01T08:00:00Z"},
			"dispute":{"status":"LOST","updated_at":"2026-12-01T08:00:00Z"}}`,
	},
	{
		SettlementCompleted, "settlement", ofSettlement,
		"A business day of yours was settled in one currency: the amounts are final, and the lines can be fetched.",
		`{"settlement":{}}`,
	},
	{
		EndpointDisabled, "endpoint", ofEndpoint,
		"One of your webhook endpoints gets no more events until it is enabled again. Sent to the others.",
		`{"endpoint":{"disabled_at":"2026-11-02T11:00:00Z","disabled_by":"gone","disabled_reason":"It answered 410 Gone."}}`,
	},
	{
		EndpointTest, "endpoint", ofEndpoint,
		"You asked for it, to see whether it arrives. Sent to the endpoint that it is about, whatever that subscribes to.",
		`{"endpoint":{}}`,
	},
}

// catalogue is made when it is first asked for: most functions only use the names.
var catalogue = sync.OnceValue(func() []Type {
	types := make([]Type, len(entries))
	for i, e := range entries {
		types[i] = Type{Name: e.name, Object: e.object, Summary: e.summary, Schema: e.schema(), Example: e.body()}
	}
	return types
})

// body is the type's example.
func (e entry) body() json.RawMessage {
	differ := parse([]byte(e.example))
	var data object
	for _, name := range e.data {
		about := parse(definitions().get(definition[name]))
		var examples []json.RawMessage
		must(json.Unmarshal(about.get("examples"), &examples))
		shown := parse(examples[0])
		for _, m := range parse(differ.get(name)) {
			shown.set(m.name, m.value)
		}
		data.set(name, shown.encode())
	}
	subject := parse(data.get(e.data[0])) // the payment counts the events of its refunds and disputes
	sequence, timestamp := subject.get("sequence"), subject.get("updated_at")
	switch e.object {
	case "settlement":
		sequence, timestamp = json.RawMessage("1"), subject.get("completed_at")
	case "endpoint":
		sequence, timestamp = json.RawMessage("1"), json.RawMessage(`"2026-11-02T11:00:00Z"`)
	}
	return object{
		{"id", json.RawMessage(`"evt_06d2ymzt7y1w5xh8c3dqkr9bg4"`)},
		{"type", quote(e.name)},
		{"api_version", quote(Version)},
		{"timestamp", timestamp},
		{"sequence", sequence},
		{"data", data.encode()},
	}.encode()
}
