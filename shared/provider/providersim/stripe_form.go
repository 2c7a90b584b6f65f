package providersim

import (
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// form is a request's parameters, in Stripe's bracket notation.
type form struct{ values url.Values }

func (f form) has(name string) bool { return f.values.Has(name) }

func (f form) str(name string) string { return f.values.Get(name) }

// text reads a string that is given, if at all, with something in it.
func (f form) text(name string) (string, *stripeError) {
	if f.has(name) && strings.TrimSpace(f.str(name)) == "" {
		return "", invalid(name, "parameter_invalid_empty",
			"You passed an empty string for '%s'. We assume empty values are an attempt to unset a parameter; however '%s' cannot be unset. "+
				"You should remove '%s' from your request or supply a non-empty value.", name, name, name)
	}
	return f.str(name), nil
}

func (f form) choice(name, fallback string, among ...string) (string, *stripeError) {
	value, err := f.text(name)
	if err != nil || value == "" {
		return fallback, err
	}
	if !slices.Contains(among, value) {
		return "", invalid(name, "", "Invalid %s: must be one of %s", name, strings.Join(among, ", "))
	}
	return value, nil
}

func (f form) boolean(name string) (bool, *stripeError) {
	switch f.str(name) {
	case "":
		return false, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, invalid(name, "", "Invalid boolean: %s", f.str(name))
}

// integer reads a positive integer; ok tells whether it was given.
func (f form) integer(name string) (n int64, ok bool, problem *stripeError) {
	if !f.has(name) {
		return 0, false, nil
	}
	n, err := strconv.ParseInt(f.str(name), 10, 64)
	if err != nil {
		return 0, false, invalid(name, "parameter_invalid_integer", "Invalid integer: %s", f.str(name))
	}
	if n < 1 {
		return 0, false, invalid(name, "parameter_invalid_integer", "This value must be greater than or equal to 1.")
	}
	return n, true, nil
}

// hash reads name[key]=value.
func (f form) hash(name string) map[string]string {
	found := map[string]string{}
	for k := range f.values {
		if rest, ok := strings.CutPrefix(k, name+"["); ok && strings.HasSuffix(rest, "]") {
			found[strings.TrimSuffix(rest, "]")] = f.str(k)
		}
	}
	return found
}

// list reads name[]=value and name[0]=value.
func (f form) list(name string) []string {
	found := slices.Clone(f.values[name+"[]"])
	for i := 0; f.has(name + "[" + strconv.Itoa(i) + "]"); i++ {
		found = append(found, f.str(name+"["+strconv.Itoa(i)+"]"))
	}
	return found
}

// metadata reads the metadata within Stripe's limits: 50 keys of 40 characters,
// values of 500 (https://docs.stripe.com/metadata).
func (f form) metadata() (map[string]string, *stripeError) {
	all := f.hash("metadata")
	if len(all) > 50 {
		return nil, invalid("metadata", "", "Metadata can have up to 50 keys.")
	}
	for k, v := range all {
		if len([]rune(k)) > 40 {
			return nil, invalid("metadata", "", "Metadata keys can have up to 40 characters, but you passed in a key that is %d characters.", len([]rune(k)))
		}
		if len([]rune(v)) > 500 {
			return nil, invalid("metadata", "", "Metadata values can have up to 500 characters, but you passed in a value that is %d characters.", len([]rune(v)))
		}
		if v == "" { // unsets the key
			delete(all, k)
		}
	}
	return all, nil
}

var (
	createParams = []string{
		"amount", "automatic_payment_methods[enabled]", "automatic_payment_methods[allow_redirects]", "capture_method",
		"confirm", "confirmation_method", "currency", "description", "metadata", "payment_method_types", "receipt_email",
		"statement_descriptor", "statement_descriptor_suffix",
		"payment_method", "payment_method_options[card][request_three_d_secure]", "return_url", "off_session",
		"error_on_requires_action",
	}
	confirmParams = []string{
		"capture_method", "payment_method", "payment_method_options[card][request_three_d_secure]", "return_url",
		"off_session", "error_on_requires_action",
	}
	captureParams = []string{"amount_to_capture", "metadata", "final_capture"}
	cancelParams  = []string{"cancellation_reason"}
	refundParams  = []string{"amount", "charge", "payment_intent", "metadata", "reason"}
	pageParams    = []string{"created", "ending_before", "limit", "starting_after"}
)

var bracketed = regexp.MustCompile(`\[\d*\]$`)

// check refuses parameters that the route does not know. Stripe knows more than
// the simulator does; what the simulator would silently ignore it refuses too.
func (f form) check(r route) *stripeError {
	names := make([]string, 0, len(f.values))
	for name := range f.values {
		names = append(names, name)
	}
	sort.Strings(names) // so that the same request gets the same complaint
	for _, name := range names {
		root, _, _ := strings.Cut(name, "[")
		plain := bracketed.ReplaceAllString(name, "")
		open := root == "metadata" || root == "created"
		if plain == "expand" || slices.Contains(r.params, plain) || open && slices.Contains(r.params, root) {
			continue
		}
		return invalid(name, "parameter_unknown", "Received unknown parameter: %s", name)
	}
	for _, path := range f.list("expand") {
		if !expandable(r.result, path) {
			return invalid("expand", "", "This property cannot be expanded (%s).", path)
		}
	}
	return nil
}
