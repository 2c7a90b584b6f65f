package bank

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tollgate/tollgate/shared/provider"
	"github.com/tollgate/tollgate/shared/provider/wire"
)

// apiVersion is the only one that GoCardless has:
// https://developer.gocardless.com/api-reference/#making-requests-versions
const apiVersion = "2015-07-06"

// dialogue is one Execute or Find under way: the requests it makes, one after another.
type dialogue struct {
	adapter  *Adapter
	ctx      context.Context
	first    bool // nothing sent before this call can take effect
	began    time.Time
	last     *wire.Exchange
	seen     []string // what was asked and answered, for the evidence
	replayed bool     // GoCardless named what the key had made before
}

func (a *Adapter) begin(ctx context.Context) *dialogue {
	return &dialogue{adapter: a, ctx: ctx, began: a.now(), last: &wire.Exchange{}}
}

// do makes one request. A key belongs to a request that changes something.
func (d *dialogue) do(method, path, key string, params any) *wire.Exchange {
	x := &wire.Exchange{}
	d.last = x
	if err := d.send(x, method, path, key, params); err != nil && x.Err == nil && x.Status == 0 {
		x.Err = err // the request could not be made
	}
	d.note("%s %s %d %s", method, path, x.Status, kept.Reply(x.Body))
	return x
}

func (d *dialogue) send(x *wire.Exchange, method, path, key string, params any) error {
	var body []byte
	if params != nil {
		var err error
		if body, err = json.Marshal(params); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(wire.With(d.ctx, x), method, d.adapter.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+d.adapter.token.Reveal())
	req.Header.Set("GoCardless-Version", apiVersion)
	req.Header.Set("Accept", "application/json")
	if params != nil {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := d.adapter.http.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close() // it is in x already
}

func (d *dialogue) note(format string, args ...any) {
	d.seen = append(d.seen, fmt.Sprintf(format, args...))
}

// evidence is the whole dialogue as it may be stored; status and request id are those
// of the last reply. doubt is why it does not decide.
func (d *dialogue) evidence(doubt error) provider.Evidence {
	e := kept.Evidence(d.last, "X-Request-Id", doubt)
	e.Body = wire.ClipBytes(strings.Join(d.seen, "\n"), wire.MaxEvidenceBytes)
	e.Duration = d.adapter.now().Sub(d.began)
	e.Replayed = d.replayed
	return e
}

// create makes an object under a key, or fetches the one that the key made before.
func (d *dialogue) create(envelope, key string, params any) (json.RawMessage, *trouble) {
	x := d.do(http.MethodPost, "/"+envelope, key, map[string]any{envelope: params})
	t := troubleOf(x)
	if t == nil {
		return member(x.Body, envelope)
	}
	made := t.refusal.conflict()
	if made == "" {
		return nil, t
	}
	d.replayed = true
	raw, missed := d.get(envelope, made)
	if missed != nil { // the key has made something: whatever kept it from us decides nothing
		return nil, &trouble{err: fmt.Errorf("the key made %.40q, which can't be fetched: %w", made, missed.err)}
	}
	return raw, nil
}

// get retrieves one object.
func (d *dialogue) get(envelope, id string) (json.RawMessage, *trouble) {
	x := d.do(http.MethodGet, "/"+envelope+"/"+url.PathEscape(id), "", nil)
	if t := troubleOf(x); t != nil {
		return nil, t
	}
	return member(x.Body, envelope)
}

// member takes the object out of an answer.
func member(body []byte, envelope string) (json.RawMessage, *trouble) {
	var outer map[string]json.RawMessage
	if err := json.Unmarshal(body, &outer); err != nil {
		return nil, &trouble{err: fmt.Errorf("not an answer of GoCardless's: %w", err)}
	}
	if len(outer[envelope]) == 0 {
		return nil, &trouble{err: fmt.Errorf("not an answer of GoCardless's: it has no %s", envelope)}
	}
	return outer[envelope], nil
}

const (
	pageSize = 500 // GoCardless's limit: https://developer.gocardless.com/api-reference/#api-usage-cursor-pagination

	// maxPages bounds one listing. A look-up that would need more is not complete.
	maxPages = 200
)

// list reads a listing, newest first, until each says that it has seen enough. each
// takes an element.
func (d *dialogue) list(envelope string, query url.Values, each func(json.RawMessage) (enough bool, err error)) (listed int, err error) {
	query.Set("limit", fmt.Sprint(pageSize))
	for range maxPages {
		x := d.page(envelope, query)
		if t := troubleOf(x); t != nil {
			return listed, t.err
		}
		elements, after, err := decodeList(envelope, x.Body)
		if err != nil {
			return listed, err
		}
		for _, raw := range elements {
			listed++
			if enough, err := each(raw); enough || err != nil {
				return listed, err
			}
		}
		if after == "" {
			return listed, nil
		}
		query.Set("after", after)
	}
	return listed, fmt.Errorf("the listing has more than %d pages", maxPages)
}

// decodeList reads one page of a listing; after is the cursor of the next one, if there
// is one.
func decodeList(envelope string, body []byte) (elements []json.RawMessage, after string, err error) {
	var page map[string]json.RawMessage
	var listed *[]json.RawMessage
	var meta struct {
		Cursors *struct {
			After string `json:"after"`
		} `json:"cursors"`
	}
	if err := errors.Join(json.Unmarshal(body, &page), json.Unmarshal(orNothing(page[envelope]), &listed), json.Unmarshal(orNothing(page["meta"]), &meta)); err != nil {
		return nil, "", fmt.Errorf("not a list: %w", err)
	}
	if listed == nil || meta.Cursors == nil {
		return nil, "", fmt.Errorf("not a list of %s", envelope)
	}
	if len(*listed) == 0 && meta.Cursors.After != "" {
		return nil, "", errors.New("a page without elements promises more")
	}
	return *listed, meta.Cursors.After, nil
}

// page requests one page, whose content the caller notes as far as it matters.
func (d *dialogue) page(envelope string, query url.Values) *wire.Exchange {
	seen := d.seen
	x := d.do(http.MethodGet, "/"+envelope+"?"+query.Encode(), "", nil)
	if troubleOf(x) == nil {
		d.seen = seen
	}
	return x
}

func orNothing(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}
