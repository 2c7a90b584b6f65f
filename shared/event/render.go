package event

import (
	"encoding/json"
	"fmt"
	"slices"
)

// The forms in which an endpoint can be sent events.
const (
	Full = "full" // with the objects as they were
	Thin = "thin" // with their ids alone, to be fetched
)

// MaxBody bounds what is sent, in bytes: a body in full has to be smaller, or it goes out
// thin.
const MaxBody = 20_000

// Render makes what an endpoint is sent of an event's payload, as Encode made it, in the
// version and the form that the endpoint asked for. The same payload gives the same
// bytes, always: a later attempt must not differ from an earlier one. In full and in the
// current version that is the payload itself, to the byte.
//
// The error says that the version or form is none, or that the payload is no event.
func Render(payload []byte, version, form string) ([]byte, error) {
	switch {
	case !slices.Contains(Versions(), version):
		return nil, fmt.Errorf("event: there is no version %q", version)
	case form != Full && form != Thin:
		return nil, fmt.Errorf("event: there is no form %q", form)
	case form == Full && len(payload) < MaxBody:
		return payload, nil
	}
	return thin(payload, version)
}

// thin leaves of each object in the data what it takes to fetch it.
func thin(payload []byte, version string) ([]byte, error) {
	var whole, data object
	if err := json.Unmarshal(payload, &whole); err != nil {
		return nil, fmt.Errorf("event: read a payload: %w", err)
	}
	if err := json.Unmarshal(whole.get("data"), &data); err != nil {
		return nil, fmt.Errorf("event: read a payload's data: %w", err)
	}
	for i, m := range data {
		var ref struct {
			ID     string `json:"id"`
			Object string `json:"object"`
		}
		if err := json.Unmarshal(m.value, &ref); err != nil {
			return nil, fmt.Errorf("event: read the %s in a payload: %w", m.name, err)
		}
		data[i].value = encode(ref)
	}
	var kept object
	for _, name := range []string{"id", "type", "api_version", "timestamp", "sequence"} {
		value := whole.get(name)
		if name == "api_version" {
			value = quote(version)
		}
		if value == nil {
			return nil, fmt.Errorf("event: a payload without %s", name)
		}
		kept.set(name, value)
	}
	kept.set("data", data.encode())
	return json.Marshal(kept)
}
