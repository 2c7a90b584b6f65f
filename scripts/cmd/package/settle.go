package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A file is what counts of one.
type file struct {
	bytes  int64
	digest [sha256.Size]byte
}

// contents are the files of a folder, by their slashed names.
type contents map[string]file

// digest is of all names and contents, in the order of the names.
func (c contents) digest() string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(c)) {
		_, _ = fmt.Fprintf(sum, "%x  %s\n", c[name].digest, name) // a hash takes everything
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func (c contents) bytes() (sum int64) {
	for _, f := range c {
		sum += f.bytes
	}
	return sum
}

// settled is the time that every file gets. It is not the zero of any format: zip
// can't say 1970.
var settled = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// settle gives all files of dir one time and one mode, so that an archive of the tree
// depends on its contents alone, and reads them.
func settle(dir string) (contents, error) {
	all := contents{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		path := filepath.Join(dir, name)
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is not a regular file", path)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		all[name] = file{int64(len(text)), sha256.Sum256(text)}
		return fix(path, 0o644)
	})
	if err != nil {
		return nil, err
	}
	return all, settleFolders(dir)
}

// settleFolders does the same to the folders, once everything is in them.
func settleFolders(dir string) error {
	return fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return fix(filepath.Join(dir, name), 0o755)
	})
}

func fix(path string, mode fs.FileMode) error {
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	return os.Chtimes(path, settled, settled)
}
