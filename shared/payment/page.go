package payment

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/shared/id"
)

// Page sizes.
const (
	DefaultPage = 20
	MaxPage     = 100
)

// PageOf is one page of a list, newest first.
type PageOf[V any] struct {
	Data       []V     `json:"data"`
	HasMore    bool    `json:"has_more"`
	NextCursor *string `json:"next_cursor"`
}

// Page is one page of payments, DisputePage one of disputes.
type (
	Page        = PageOf[View]
	DisputePage = PageOf[DisputeView]
)

// collectPage makes a page of a list's rows. Its statement asks for one row more than
// fits: that one says whether there is another page.
func collectPage[R, V any](rows pgx.Rows, limit int, at func(*R) position, view func(*R) V) (PageOf[V], error) {
	found, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[R])
	if err != nil {
		return PageOf[V]{}, err
	}
	page := PageOf[V]{Data: make([]V, 0, min(len(found), limit))}
	if len(found) > limit {
		found = found[:limit]
		next := at(found[limit-1]).encode()
		page.HasMore, page.NextCursor = true, &next
	}
	for _, r := range found {
		page.Data = append(page.Data, view(r))
	}
	return page, nil
}

// page checks what chooses a page, sets the limit if it is 0, and reads after what the
// page begins.
func (ps *problems) page(limit *int, cursor string) (after position) {
	if *limit == 0 {
		*limit = DefaultPage
	}
	if *limit < 1 || *limit > MaxPage {
		ps.add("limit", "must be between 1 and %d", MaxPage)
	}
	if cursor == "" {
		return position{}
	}
	after, err := parsePosition(cursor)
	if err != nil {
		ps.add("cursor", "is not a cursor of this list; send next_cursor of the page before, unchanged, or leave it out to begin")
	}
	return after
}

// position is where a page ended.
type position struct {
	at *time.Time
	id id.ID
}

type cursor struct {
	At int64 `json:"t"` // microseconds, as the database keeps them
	ID id.ID `json:"i"`
}

func (p position) encode() string {
	return base64.RawURLEncoding.EncodeToString(encode(cursor{At: p.at.UnixMicro(), ID: p.id}))
}

func parsePosition(s string) (position, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return position{}, err
	}
	var c cursor
	if err := json.Unmarshal(b, &c); err != nil {
		return position{}, err
	}
	at := time.UnixMicro(c.At).UTC()
	p := position{at: &at, id: c.ID}
	if at.Year() < 2000 || at.Year() > 9999 || c.ID.IsZero() || p.encode() != s { // what PostgreSQL can't hold was not ours
		return position{}, fmt.Errorf("payment: %q is not a cursor", s)
	}
	return p, nil
}
