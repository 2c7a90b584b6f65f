package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
)

// Bucket is a vault in Cloud Storage. Its retention policy keeps everybody from deleting or
// replacing what it has, and the functions' identity may not try.
type Bucket struct{ handle *storage.BucketHandle }

// OpenBucket makes the client; it connects on first use.
func OpenBucket(ctx context.Context, name string, opts ...option.ClientOption) (*Bucket, error) {
	client, err := storage.NewClient(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("vault: open Cloud Storage: %w", err)
	}
	return &Bucket{client.Bucket(name)}, nil
}

// Create implements audit.Vault: the precondition is ifGenerationMatch=0, which holds only where
// there is no object. It also makes it safe to send again what may have arrived.
func (b *Bucket) Create(ctx context.Context, name string, content []byte) error {
	w := b.handle.Object(name).If(storage.Conditions{DoesNotExist: true}).NewWriter(ctx)
	w.ContentType = "application/json"
	w.ChunkSize = 2 << 20 // it is held in memory, so not the default 16 MB: one request takes a whole seal
	if _, err := io.Copy(w, bytes.NewReader(content)); err != nil {
		_ = w.Close()
		return taken(err)
	}
	return taken(w.Close())
}

func taken(err error) error {
	if api, ok := errors.AsType[*googleapi.Error](err); ok && api.Code == http.StatusPreconditionFailed {
		return fs.ErrExist
	}
	return err
}

// Read implements audit.Vault.
func (b *Bucket) Read(ctx context.Context, name string) ([]byte, error) {
	r, err := b.handle.Object(name).NewReader(ctx)
	if errors.Is(err, storage.ErrObjectNotExist) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}

// Folders implements audit.Vault.
func (b *Bucket) Folders(ctx context.Context, in, after string, limit int) ([]string, error) {
	q := &storage.Query{Prefix: in, Delimiter: "/"}
	if after != "" {
		q.StartOffset = in + after + "0" // the first name after all that begin with "in/after/"
	}
	objects := b.handle.Objects(ctx, q)
	objects.PageInfo().MaxSize = limit
	var names []string
	for len(names) < limit {
		o, err := objects.Next()
		if errors.Is(err, iterator.Done) {
			break
		}
		if err != nil {
			return nil, err
		}
		if o.Prefix != "" {
			names = append(names, strings.TrimSuffix(strings.TrimPrefix(o.Prefix, in), "/"))
		}
	}
	return names, nil
}
