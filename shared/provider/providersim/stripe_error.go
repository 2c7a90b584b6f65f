package providersim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

var errWebhookHeader = errors.New("webhook faults go into the plan, for a request sends several events")

// stripeError is an error in Stripe's shape
// (https://docs.stripe.com/api/errors).
type stripeError struct {
	status int

	// begun says that the request passed validation and was being executed,
	// so that an idempotency key keeps this result.
	begun bool

	Type, Code, DeclineCode, Message, Param string
	charge                                  string
	intent                                  *intent
	method                                  *method
}

// invalid is a refusal before execution: nothing is kept under the key.
func invalid(param, code, format string, args ...any) *stripeError {
	return &stripeError{
		status: http.StatusBadRequest, Type: "invalid_request_error",
		Param: param, Code: code, Message: fmt.Sprintf(format, args...),
	}
}

// refused is a refusal by the state of the account, kept under the key.
func refused(param, code, format string, args ...any) *stripeError {
	e := invalid(param, code, format, args...)
	e.begun = true
	return e
}

// unexpectedState is the refusal of what an intent's status does not allow.
func unexpectedState(in *intent, format string, args ...any) *stripeError {
	e := refused("", "payment_intent_unexpected_state", format, args...)
	e.intent = in
	return e
}

// missing is the error for an object that does not exist: 404 when the path
// names it, 400 when a parameter does.
func missing(status int, param, kind, id string) *stripeError {
	e := invalid(param, "resource_missing", "No such %s: '%s'", kind, id)
	e.status = status
	return e
}

func unrecognizedURL(r *http.Request) *stripeError {
	e := invalid("", "", "Unrecognized request URL (%s: %s). Please see https://stripe.com/docs or we can help at https://support.stripe.com/.",
		r.Method, r.URL.Path)
	e.status = http.StatusNotFound
	return e
}

func internalError() *stripeError {
	return &stripeError{
		status: http.StatusInternalServerError, begun: true, Type: "api_error",
		Message: "An unknown error occurred",
	}
}

// object renders the error as it stands in an answer, or in last_payment_error.
func (e *stripeError) object() object {
	o := object{"type": e.Type, "message": e.Message}
	for name, value := range map[string]string{
		"code": e.Code, "decline_code": e.DeclineCode, "param": e.Param, "charge": e.charge,
	} {
		if value != "" {
			o[name] = value
		}
	}
	if e.Code != "" {
		o["doc_url"] = "https://stripe.com/docs/error-codes/" + e.Code
	}
	if e.method != nil {
		o["payment_method"] = e.method.render()
	}
	return o
}

// errorReply renders the error. The intent it carries must be rendered under the
// lock, so such errors come here only from execute.
func (s *Stripe) errorReply(e *stripeError) reply {
	o := e.object()
	if e.intent != nil {
		o["payment_intent"] = e.intent.render()
	}
	return jsonReply(e.status, object{"error": o})
}

// tamperStripe makes the amounts of an answer, or of each element of a list, one minor
// unit too large.
func tamperStripe(body []byte) []byte {
	return tampered(body, func(o object) {
		raiseAmounts(o)
		list, _ := o["data"].([]any)
		for _, each := range list {
			if element, ok := each.(object); ok {
				raiseAmounts(element)
			}
		}
	})
}

// tampered changes a JSON object, and leaves what is none as it is.
func tampered(body []byte, change func(object)) []byte {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var o object
	if d.Decode(&o) != nil {
		return body
	}
	change(o)
	changed, err := json.Marshal(o)
	if err != nil {
		return body
	}
	return changed
}

// raiseAmounts makes an object's amounts one minor unit too large. What is 0 stays so:
// it says that something has not happened.
func raiseAmounts(o object) {
	for _, name := range []string{"amount", "amount_received", "amount_capturable", "amount_captured"} {
		if n, ok := o[name].(json.Number); ok && n != "0" {
			if value, err := n.Int64(); err == nil {
				o[name] = value + 1
			}
		}
	}
}
