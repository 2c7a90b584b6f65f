package pglocal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// fake makes a folder that looks like an installation of the given version.
func fake(t *testing.T, folder, version string) string {
	t.Helper()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\necho 'postgres (PostgreSQL) %s (Debian)'\n", version)
	// No process may start while these are open for writing: it would hold them
	// open too for a moment, and what is open for writing can't be run.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for _, name := range []string{"initdb", "postgres"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestFind(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	packaged := []string{at("lib/*/bin")}
	fake(t, at("lib/9/bin"), "9.6.24")
	fake(t, at("lib/15/bin"), "15.18")
	fake(t, at("lib/17/bin"), "17.2")
	onPath := fake(t, at("own"), "16.4")
	old := fake(t, at("old"), "14.9")
	npm := fake(t, at("npm"), "18.4")
	linked := at("linked")
	if err := os.Mkdir(linked, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"initdb", "postgres"} {
		if err := os.Symlink(filepath.Join(onPath, name), filepath.Join(linked, name)); err != nil {
			t.Fatal(err)
		}
	}
	none := []string{at("none/*")}

	for _, c := range []struct {
		name     string
		path     []string
		packaged []string
		npm      string
		want     Binaries
	}{
		{"PATH comes first", []string{at("empty"), onPath}, packaged, npm, Binaries{onPath, 16}},
		{"links are followed", []string{linked}, packaged, npm, Binaries{onPath, 16}},
		{"too old on PATH", []string{old}, packaged, npm, Binaries{at("lib/17/bin"), 17}},
		{"newest package, by number", nil, packaged, npm, Binaries{at("lib/17/bin"), 17}},
		{"npm last", []string{""}, none, npm, Binaries{npm, 18}},
	} {
		got, err := find(c.path, c.packaged, c.npm)
		if err != nil || got != c.want {
			t.Errorf("%s: got %v, %v; want %v", c.name, got, err, c.want)
		}
	}
	if got, err := find([]string{old}, none, at("empty")); !errors.Is(err, ErrNotFound) {
		t.Errorf("nothing new enough: got %v, %v; want ErrNotFound", got, err)
	}
}

func TestReachableByCopiesOutOfAClosedFolder(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		// Only root lends the server another account; then nothing is copied.
		b, err := Binaries{Folder: "/closed/bin"}.reachableBy(nil, t.TempDir())
		if err != nil || b.Folder != "/closed/bin" {
			t.Errorf("got %v, %v; want the folder as it is", b, err)
		}
		return
	}
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	folder := fake(t, filepath.Join(closed, "dist", "bin"), "18.4")
	account, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	b, err := Binaries{Folder: folder, Major: 18}.reachableBy(account, to)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(to, "dist", "bin"); b.Folder != want {
		t.Errorf("folder is %s, want %s", b.Folder, want)
	}
	if _, ok := inspect(b.Folder); !ok {
		t.Error("the copy does not run")
	}
}
