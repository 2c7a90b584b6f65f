package main

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// An archive is a tree as one file.
type archive struct {
	path   string
	bytes  int64
	digest string
}

// compress makes NAME.zip of a settled tree NAME, beside it. The same tree gives the
// same bytes with the same version of Go; another may compress otherwise.
func compress(dir string) (archive, error) {
	f, err := os.CreateTemp(filepath.Dir(dir), ".zip-")
	if err != nil {
		return archive{}, err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it is gone when all went well
	sum := sha256.New()
	err = writeZip(io.MultiWriter(f, sum), dir)
	size, sought := f.Seek(0, io.SeekCurrent)
	if err := errors.Join(err, sought, f.Chmod(0o644), f.Close()); err != nil {
		return archive{}, err
	}
	a := archive{path: dir + ".zip", bytes: size, digest: hex.EncodeToString(sum.Sum(nil))}
	return a, os.Rename(f.Name(), a.path)
}

// writeZip writes the files in the order of their names.
func writeZip(to io.Writer, dir string) error {
	w := zip.NewWriter(to)
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: settled}
		h.SetMode(0o644)
		to, err := w.CreateHeader(h)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		_, err = to.Write(text)
		return err
	})
	return errors.Join(err, w.Close())
}
