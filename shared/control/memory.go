package control

import (
	"context"
	"encoding/json"
	"sync"
)

// Memory is a Store inside one process.
type Memory struct {
	mu   sync.Mutex
	docs map[string][]byte // as JSON, so that nobody holds a part of what is stored
}

// NewMemory makes a store without documents.
func NewMemory() *Memory { return &Memory{docs: map[string][]byte{}} }

// Get returns a copy of the document, nil when there is none.
func (m *Memory) Get(ctx context.Context, path string) (Document, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.get(ctx, path)
}

func (m *Memory) get(ctx context.Context, path string) (Document, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	text, ok := m.docs[path]
	if !ok {
		return nil, nil
	}
	return Parse(text)
}

// Change changes the document while all others wait, so change must not use the store.
func (m *Memory) Change(ctx context.Context, path string, change func(Document) (Document, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, err := m.get(ctx, path)
	if err != nil {
		return err
	}
	after, err := change(before)
	if err != nil {
		return err
	}
	if after == nil {
		delete(m.docs, path)
		return nil
	}
	if after, err = Encode(after); err != nil {
		return err
	}
	text, err := json.Marshal(after)
	if err != nil {
		return err
	}
	m.docs[path] = text
	return nil
}
