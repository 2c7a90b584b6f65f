package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// tree says what was staged.
type tree struct {
	files  int
	digest string // of the names and contents of all files
}

// staged is the time that every file gets. It is not the zero of any format: zip
// can't say 1970.
var staged = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// settle gives all files of dir one time and one mode, so that an archive of the
// tree depends on its contents alone, and digests them in the order of their names.
func settle(dir string) (tree, error) {
	var t tree
	var folders []string
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			folders = append(folders, path)
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is not a regular file", path)
		}
		t.files++
		return settleFile(dir, path, sum)
	})
	if err != nil {
		return tree{}, err
	}
	for _, folder := range folders {
		if err := fix(folder, 0o755); err != nil {
			return tree{}, err
		}
	}
	t.digest = hex.EncodeToString(sum.Sum(nil))
	return t, nil
}

func settleFile(dir, path string, sum hash.Hash) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	name, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(sum, "%x  %s\n", sha256.Sum256(text), filepath.ToSlash(name)); err != nil {
		return err
	}
	return fix(path, 0o644)
}

func fix(path string, mode fs.FileMode) error {
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	return os.Chtimes(path, staged, staged)
}
