package providersim

// paypalError is an error in PayPal's shape.
type paypalError struct {
	status         int
	oauth          string // the code of one in OAuth's shape
	Name, Message  string
	issue, details string
}

func (e *paypalError) reply() reply {
	if e.oauth != "" {
		return jsonReply(e.status, object{"error": e.oauth, "error_description": e.Message})
	}
	o := object{"name": e.Name, "message": e.Message, "debug_id": "sim", "links": []any{}}
	if e.issue != "" {
		o["details"] = []any{object{"issue": e.issue, "description": e.details}}
	}
	return jsonReply(e.status, o)
}

func unprocessable(issue, description string) *paypalError {
	return &paypalError{
		status: 422, Name: "UNPROCESSABLE_ENTITY", issue: issue, details: description,
		Message: "The requested action could not be performed, semantically incorrect, or failed business validation.",
	}
}

func malformed(description string) *paypalError {
	return &paypalError{
		status: 400, Name: "INVALID_REQUEST", issue: "INVALID_PARAMETER_VALUE", details: description,
		Message: "Request is not well-formed, syntactically incorrect, or violates schema.",
	}
}

func paypalMissing() *paypalError {
	return &paypalError{
		status: 404, Name: "RESOURCE_NOT_FOUND", issue: "INVALID_RESOURCE_ID", details: "Specified resource ID does not exist.",
		Message: "The specified resource does not exist.",
	}
}

func paypalInternal() *paypalError {
	return &paypalError{status: 500, Name: "INTERNAL_SERVER_ERROR", Message: "An internal server error has occurred."}
}
