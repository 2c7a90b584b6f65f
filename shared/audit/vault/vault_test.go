package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/api/option"

	"github.com/tollgate/tollgate/shared/audit"
)

// vaults are both kinds, each empty.
func vaults(t *testing.T) map[string]audit.Vault {
	t.Helper()
	b, _ := bucketAt(t)
	return map[string]audit.Vault{"folder": Folder(t.TempDir()), "bucket": b}
}

func bucketAt(t *testing.T) (audit.Vault, *gcs) {
	t.Helper()
	g := newGCS("seals")
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	b, err := Open(t.Context(), Config{parse(t, "gs://seals")},
		option.WithEndpoint(server.URL+"/storage/v1/"), option.WithHTTPClient(server.Client()))
	if err != nil {
		t.Fatal(err)
	}
	return b, g
}

func parse(t *testing.T, address string) url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return *u
}

func TestWhatIsKeptStays(t *testing.T) {
	t.Parallel()
	for kind, v := range vaults(t) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ctx, name := t.Context(), "merchants/a/00000001.json"
			if _, err := v.Read(ctx, name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("nothing read: %v", err)
			}
			if err := v.Create(ctx, name, []byte("first")); err != nil {
				t.Fatal(err)
			}
			if err := v.Create(ctx, name, []byte("second")); !errors.Is(err, fs.ErrExist) {
				t.Errorf("kept over another: %v", err)
			}
			if got, err := v.Read(ctx, name); err != nil || string(got) != "first" {
				t.Errorf("read %q %v", got, err)
			}
			large := strings.Repeat("0123456789abcdef", 200_000) // more than one chunk
			if err := v.Create(ctx, "merchants/a/00000002.json", []byte(large)); err != nil {
				t.Fatal(err)
			}
			if got, err := v.Read(ctx, "merchants/a/00000002.json"); err != nil || string(got) != large {
				t.Errorf("read %d bytes %v", len(got), err)
			}
		})
	}
}

// Of many who keep something under one name at once, one does.
func TestOneIsKept(t *testing.T) {
	t.Parallel()
	for kind, v := range vaults(t) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var wg sync.WaitGroup
			kept := make(chan string, 8)
			for i := range 8 {
				wg.Go(func() {
					text := fmt.Sprint("text ", i)
					switch err := v.Create(t.Context(), "merchants/a/1", []byte(text)); {
					case err == nil:
						kept <- text
					case !errors.Is(err, fs.ErrExist):
						t.Error(err)
					}
				})
			}
			wg.Wait()
			close(kept)
			first, more := <-kept, len(kept)
			if got, err := v.Read(t.Context(), "merchants/a/1"); err != nil || string(got) != first || more != 0 {
				t.Errorf("%q is there, %q was kept, and %d more: %v", got, first, more, err)
			}
		})
	}
}

func TestFolders(t *testing.T) {
	t.Parallel()
	for kind, v := range vaults(t) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			if got, err := v.Folders(t.Context(), "merchants/", "", 10); err != nil || len(got) != 0 {
				t.Errorf("of nothing: %v %v", got, err)
			}
			for _, name := range []string{"merchants/c/1", "merchants/a/1", "merchants/a/2", "merchants/b/1", "others/x/1"} {
				if err := v.Create(t.Context(), name, []byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range []struct {
				after string
				limit int
				want  []string
			}{
				{"", 10, []string{"a", "b", "c"}}, {"", 2, []string{"a", "b"}}, {"a", 10, []string{"b", "c"}}, {"b", 1, []string{"c"}}, {"c", 10, nil},
			} {
				if got, err := v.Folders(t.Context(), "merchants/", c.after, c.limit); err != nil || !slices.Equal(got, c.want) {
					t.Errorf("after %q, %d: %v %v", c.after, c.limit, got, err)
				}
			}
		})
	}
}

// An answer that is lost leaves it open whether the object is there. Who tries again finds it.
func TestALostAnswerKeepsOne(t *testing.T) {
	t.Parallel()
	b, g := bucketAt(t)
	g.loseAnswers(1)
	if err := b.Create(t.Context(), "merchants/a/1", []byte("first")); err == nil {
		t.Error("taken to be kept without an answer")
	}
	if err := b.Create(t.Context(), "merchants/a/1", []byte("first")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("tried again: %v", err)
	}
	if got, err := b.Read(t.Context(), "merchants/a/1"); err != nil || string(got) != "first" {
		t.Errorf("read %q %v", got, err)
	}
}

// Every write says that there must be nothing yet; the bucket is asked for nothing but that,
// reading and listing.
func TestTheBucketIsOnlyAddedTo(t *testing.T) {
	t.Parallel()
	b, g := bucketAt(t)
	for range 2 {
		_ = b.Create(t.Context(), "merchants/a/1", []byte("x"))
	}
	_, _ = b.Read(t.Context(), "merchants/a/1")
	_, _ = b.Folders(t.Context(), "merchants/", "", 1)
	if got := g.asked(); !slices.Equal(got, []string{"create if 0", "create if 0", "read", "list"}) {
		t.Errorf("asked for %v", got)
	}
}

func TestAFolderLeavesNothingHalf(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	v := Folder(root)
	for range 2 {
		_ = v.Create(t.Context(), "merchants/a/1", []byte("x"))
	}
	entries, err := os.ReadDir(filepath.Join(root, "merchants", "a"))
	if err != nil || len(entries) != 1 || entries[0].Name() != "1" {
		t.Errorf("it holds %v %v", entries, err)
	}
	for _, name := range []string{"../x", "/x", "a/../../x", ""} {
		if err := v.Create(t.Context(), name, nil); err == nil {
			t.Errorf("kept as %q", name)
		}
		if _, err := v.Read(t.Context(), name); err == nil {
			t.Errorf("read %q", name)
		}
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "new", "seals")
	v, err := Open(t.Context(), Config{parse(t, "file://"+folder)})
	if err != nil || v != Folder(folder) {
		t.Errorf("got %v %v", v, err)
	}
	if _, err := os.Stat(folder); err != nil {
		t.Error(err)
	}
	for _, address := range []string{"s3://bucket", "gs://", "gs://bucket/folder", "file:relative", "file://host/folder", "https://example.com"} {
		if _, err := Open(t.Context(), Config{parse(t, address)}); err == nil || !strings.Contains(err.Error(), "AUDIT_SEALS") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
