package event

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// personal has, by the type of object, the members that hold what a merchant said in words of
// its own, and what stands there when it has been erased.
var personal = map[string][]member{
	"payment": {{"description", json.RawMessage(`null`)}, {"metadata", json.RawMessage(`{}`)}, {"return_url", json.RawMessage(`null`)}},
	"refund":  {{"reason", json.RawMessage(`null`)}},
}

// ErasePersonal takes the personal data out of an event's payload, as Encode made it. It
// reports whether there was any; without, the payload is returned to the byte.
//
// It is the one thing that changes a payload after it was made: attempts at delivering it
// that come later send other bytes under the same webhook-id.
func ErasePersonal(payload []byte) (erased []byte, changed bool, err error) {
	var whole, data object
	if err := json.Unmarshal(payload, &whole); err != nil {
		return nil, false, fmt.Errorf("event: read a payload: %w", err)
	}
	if err := json.Unmarshal(whole.get("data"), &data); err != nil {
		return nil, false, fmt.Errorf("event: read a payload's data: %w", err)
	}
	for i, m := range data {
		var o object
		if err := json.Unmarshal(m.value, &o); err != nil {
			return nil, false, fmt.Errorf("event: read the %s in a payload: %w", m.name, err)
		}
		var kind string
		if err := json.Unmarshal(o.get("object"), &kind); err != nil {
			return nil, false, fmt.Errorf("event: read the %s in a payload: %w", m.name, err)
		}
		for _, p := range personal[kind] {
			if old := o.get(p.name); old != nil && !bytes.Equal(old, p.value) {
				o.set(p.name, p.value)
				changed = true
			}
		}
		data[i].value = o.encode()
	}
	if !changed {
		return payload, false, nil
	}
	whole.set("data", data.encode())
	return whole.encode(), true, nil
}
