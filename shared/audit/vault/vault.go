// Package vault keeps the seals of the audit log outside the database: in a bucket of Cloud
// Storage, or in a folder for local runs. Both are an audit.Vault.
//
// It owns no tables. What is in a vault is never overwritten, and nothing here deletes.
package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/api/option"

	"github.com/tollgate/tollgate/shared/audit"
	"github.com/tollgate/tollgate/shared/config"
)

// Config says where the seals are kept.
type Config struct {
	URL url.URL `env:"AUDIT_SEALS,required" desc:"where seals of the audit log are kept: gs://bucket, or file:///folder" who:"terraform"`
}

// CheckConfig says what is wrong with the address.
func (c *Config) CheckConfig() []config.Mistake {
	if c.bucket() || c.folder() {
		return nil
	}
	return config.About(errNoVault)
}

func (c *Config) bucket() bool {
	return c.URL.Scheme == "gs" && c.URL.Host != "" && strings.Trim(c.URL.Path, "/") == ""
}

func (c *Config) folder() bool {
	return c.URL.Scheme == "file" && c.URL.Host == "" && filepath.IsAbs(c.URL.Path)
}

var errNoVault = errors.New("AUDIT_SEALS must be gs://bucket or file:///folder")

// Open opens the vault that the configuration names. The options are for the client
// of object storage.
func Open(ctx context.Context, c Config, opts ...option.ClientOption) (audit.Vault, error) {
	switch {
	case c.bucket():
		return OpenBucket(ctx, c.URL.Host, opts...)
	case c.folder():
		return Folder(c.URL.Path), os.MkdirAll(c.URL.Path, 0o750)
	}
	return nil, errNoVault
}

// Folder is a vault in a folder of this machine, for local runs: it keeps nobody from
// changing it who may write there.
type Folder string

// Create implements audit.Vault. What it has written survives a crash of the machine.
func (f Folder) Create(_ context.Context, name string, content []byte) error {
	path, err := f.path(name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	part, err := os.CreateTemp(filepath.Dir(path), ".part-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(part.Name()) }()
	_, err = part.Write(content)
	if err = errors.Join(err, part.Chmod(0o440), part.Sync(), part.Close()); err != nil {
		return err
	}
	if err := os.Link(part.Name(), path); err != nil { // fails when there is one, as a rename would not
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// Read implements audit.Vault.
func (f Folder) Read(_ context.Context, name string) ([]byte, error) {
	path, err := f.path(name)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// Folders implements audit.Vault.
func (f Folder) Folders(_ context.Context, in, after string, limit int) ([]string, error) {
	path, err := f.path(strings.TrimSuffix(in, "/"))
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(path) // sorted
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && e.Name() > after {
			names = append(names, e.Name())
		}
	}
	return slices.Clip(names[:min(limit, len(names))]), nil
}

func (f Folder) path(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", fmt.Errorf("vault: %q is no name in a vault", name)
	}
	return filepath.Join(string(f), filepath.FromSlash(name)), nil
}
