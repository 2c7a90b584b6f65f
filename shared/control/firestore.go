package control

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Config names the database.
type Config struct {
	Project  string `env:"CONTROL_PROJECT" desc:"project of the Firestore database that holds the control plane" who:"terraform"`
	Database string `env:"CONTROL_DATABASE" envDefault:"(default)" desc:"its name" who:"terraform"`
}

// Firestore is the Store of a deployment.
//
// A change is a read and a write on the condition that the document is still as it was read. A transaction of
// Firestore's server libraries would lock the document from its read on: five writers at once then wait for each other
// to the point of a few changes a second, and one that is frozen with the lock stops all others.
type Firestore struct{ client *firestore.Client }

// Open makes the client. It connects on first use. Firestore's own FIRESTORE_EMULATOR_HOST works too.
func Open(ctx context.Context, c Config, opts ...option.ClientOption) (*Firestore, error) {
	if c.Project == "" {
		return nil, errors.New("control: CONTROL_PROJECT is not set")
	}
	if c.Database == "" {
		c.Database = firestore.DefaultDatabaseID
	}
	client, err := firestore.NewClientWithDatabase(ctx, c.Project, c.Database, opts...)
	if err != nil {
		return nil, fmt.Errorf("control: open Firestore: %w", err)
	}
	return &Firestore{client}, nil
}

// Close ends the connection.
func (f *Firestore) Close() error { return f.client.Close() }

// Get returns the document, nil when there is none.
func (f *Firestore) Get(ctx context.Context, path string) (Document, error) {
	doc, _, err := f.read(ctx, path)
	return doc, err
}

func (f *Firestore) read(ctx context.Context, path string) (Document, *firestore.DocumentSnapshot, error) {
	if err := checkPath(path); err != nil {
		return nil, nil, err
	}
	snapshot, err := f.client.Doc(path).Get(ctx)
	if status.Code(err) == codes.NotFound && snapshot != nil {
		return nil, snapshot, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("control: read %s: %w", path, err)
	}
	doc, err := Encode(snapshot.Data()) // times that somebody set by hand become text
	return doc, snapshot, err
}

// retryAfter is how long the first repetition of a change waits, and each further one that much longer.
const retryAfter = 5 * time.Millisecond

// Change changes the document; see Store.
func (f *Firestore) Change(ctx context.Context, path string, change func(Document) (Document, error)) error {
	for tries := 1; ; tries++ {
		before, snapshot, err := f.read(ctx, path)
		if err != nil {
			return lost(tries, err)
		}
		after, err := change(clone(before))
		if err != nil {
			return err
		}
		if after != nil {
			if after, err = Encode(after); err != nil {
				return err
			}
		}
		if reflect.DeepEqual(before, after) {
			return nil
		}
		err = f.write(ctx, snapshot, before, after)
		switch status.Code(err) {
		case codes.OK:
			return nil
		case codes.FailedPrecondition, codes.AlreadyExists, codes.NotFound, codes.Aborted: // it changed in between
		default:
			return fmt.Errorf("control: write %s: %w", path, err)
		}
		if !pause(ctx, time.Duration(tries)*retryAfter) {
			return lost(tries+1, ctx.Err())
		}
	}
}

// lost tells a change that ran out of time because of others from one to a store that is away.
func lost(tries int, err error) error {
	if tries > 1 {
		return fmt.Errorf("%w: %w", ErrContended, err)
	}
	return err
}

func (f *Firestore) write(ctx context.Context, at *firestore.DocumentSnapshot, before, after Document) (err error) {
	switch {
	case before == nil:
		_, err = at.Ref.Create(ctx, after)
	case after == nil:
		_, err = at.Ref.Delete(ctx, firestore.LastUpdateTime(at.UpdateTime))
	default: // Set takes no condition
		var updates []firestore.Update
		for k, v := range after {
			updates = append(updates, firestore.Update{FieldPath: firestore.FieldPath{k}, Value: v})
		}
		for k := range before {
			if _, stays := after[k]; !stays {
				updates = append(updates, firestore.Update{FieldPath: firestore.FieldPath{k}, Value: firestore.Delete})
			}
		}
		_, err = at.Ref.Update(ctx, updates, firestore.LastUpdateTime(at.UpdateTime))
	}
	return err
}

func clone(d Document) Document {
	if d == nil {
		return nil
	}
	c, err := Encode(d)
	if err != nil {
		panic("control: a document that was read does not encode: " + err.Error())
	}
	return c
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
