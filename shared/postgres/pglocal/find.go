package pglocal

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// ErrNotFound means that this machine has no PostgreSQL server that will do.
var ErrNotFound = errors.New("no PostgreSQL server found")

// oldest is the first major version that has all the schema uses.
const oldest = 15

// Binaries is one installation of the PostgreSQL server.
type Binaries struct {
	Folder string // holds initdb and postgres
	Major  int    // 15 for PostgreSQL 15.4
}

func (b Binaries) path(name string) string { return filepath.Join(b.Folder, name) }

// Find returns the server to use: the one on PATH, else the newest that a
// system package put in its place, else the one from npm in the repository's
// .cache. The error is ErrNotFound when there is none of version 15 or later.
func Find() (Binaries, error) {
	return find(filepath.SplitList(os.Getenv("PATH")),
		[]string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin"},
		FromNPM().Folder())
}

func find(path, packaged []string, npm string) (Binaries, error) {
	for _, folder := range path {
		if b, ok := inspect(folder); ok {
			return b, nil
		}
	}
	var installed []Binaries
	for _, pattern := range packaged {
		folders, err := filepath.Glob(pattern)
		if err != nil {
			return Binaries{}, err
		}
		for _, folder := range folders {
			if b, ok := inspect(folder); ok {
				installed = append(installed, b)
			}
		}
	}
	if len(installed) > 0 {
		return slices.MaxFunc(installed, func(a, b Binaries) int { return cmp.Compare(a.Major, b.Major) }), nil
	}
	if b, ok := inspect(npm); ok {
		return b, nil
	}
	return Binaries{}, fmt.Errorf("%w: need initdb and postgres, version %d or later, on PATH, in %s, or in %s; scripts/test and scripts/dev get them",
		ErrNotFound, oldest, strings.Join(packaged, ", "), npm)
}

var version = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d+)`)

func inspect(folder string) (Binaries, bool) {
	if folder == "" {
		return Binaries{}, false
	}
	initdb, err := exec.LookPath(filepath.Join(folder, "initdb"))
	if err != nil {
		return Binaries{}, false
	}
	// The files may be links into the installation, which knows its libraries
	// by their place relative to the true one.
	real, err := filepath.EvalSymlinks(initdb)
	if err != nil {
		return Binaries{}, false
	}
	b := Binaries{Folder: filepath.Dir(real)}
	out, err := exec.Command(b.path("postgres"), "--version").Output()
	if err != nil {
		return Binaries{}, false
	}
	found := version.FindSubmatch(out)
	if found == nil {
		return Binaries{}, false
	}
	if b.Major, err = strconv.Atoi(string(found[1])); err != nil {
		return Binaries{}, false
	}
	return b, b.Major >= oldest
}

// reachableBy returns b, or a copy of it inside dir when the account may not
// enter b's folder, as when the repository lies in root's home.
func (b Binaries) reachableBy(account *syscall.Credential, dir string) (Binaries, error) {
	if account == nil || openToAll(b.Folder) {
		return b, nil
	}
	to := filepath.Join(dir, "dist")
	// By a process of its own: a program that this one had open for writing
	// while it started another could not be run ("text file busy"), because the
	// other would hold it open too for a moment.
	if out, err := exec.Command("cp", "-R", filepath.Dir(b.Folder), to).CombinedOutput(); err != nil {
		return Binaries{}, fmt.Errorf("copy the server's files: %w: %s", err, out)
	}
	err := filepath.WalkDir(to, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, giveTo(account, path))
	})
	return Binaries{Folder: filepath.Join(to, filepath.Base(b.Folder)), Major: b.Major}, err
}

// repository returns the folder of the go.mod around the working directory,
// where tests and scripts run.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("not inside the repository: no go.mod here or above")
		}
		dir = parent
	}
}
