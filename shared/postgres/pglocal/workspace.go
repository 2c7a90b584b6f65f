package pglocal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// A workspace is the folder of one server. Its lock is held by whoever makes
// the server and then by the supervisor, so a folder whose lock is free belongs
// to nobody.
type workspace struct {
	dir  string
	lock *os.File
}

// release gives up this process's hold on the lock; the supervisor keeps its own.
func (w *workspace) release() { _ = w.lock.Close() }

// serverAccount is whom the server runs as: nil for ourselves. PostgreSQL
// refuses to run as root, so root lends it another account.
func serverAccount() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody to run it as")
}

// newWorkspace makes a server's folder, and removes those of dead servers.
func newWorkspace(account *syscall.Credential, onDisk bool) (*workspace, error) {
	base, err := baseFolder(account, onDisk)
	if err != nil {
		return nil, err
	}
	// Held while folders come and go, so that nobody takes a folder whose lock
	// is just about to be locked for a dead one.
	guard, err := lockFile(filepath.Join(base, ".lock"), account, syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer func() { _ = guard.Close() }()
	if err := removeDead(base, account); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(base, "")
	if err != nil {
		return nil, err
	}
	if err := giveTo(account, dir); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(dir, "lock"), account, syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	return &workspace{dir: dir, lock: lock}, nil
}

func removeDead(base string, account *syscall.Credential) error {
	entries, err := os.ReadDir(base)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		dir := filepath.Join(base, e.Name())
		lock, err := lockFile(filepath.Join(dir, "lock"), account, syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
			continue // alive, or gone meanwhile
		}
		if err != nil {
			return err
		}
		err = os.RemoveAll(dir)
		_ = lock.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func lockFile(path string, account *syscall.Credential, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(giveTo(account, path), syscall.Flock(int(f.Fd()), how)); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

const roomNeeded = 1 << 30 // bytes; a container's /dev/shm often has but 64 MiB

// baseFolder is where the folders of one account's servers live: in memory when
// there is room, since that makes cloning a database several times faster.
func baseFolder(account *syscall.Credential, onDisk bool) (string, error) {
	uid := os.Geteuid()
	if account != nil {
		uid = int(account.Uid)
	}
	var tried []error
	for _, parent := range []string{"/dev/shm", os.TempDir(), "/tmp"} {
		if onDisk && parent == "/dev/shm" {
			continue
		}
		base := filepath.Join(parent, "tollgate-postgres-"+strconv.Itoa(uid))
		err := prepareBase(parent, base, uid, account)
		if err == nil {
			return base, nil
		}
		tried = append(tried, err)
	}
	return "", fmt.Errorf("no folder for the server's data: %w", errors.Join(tried...))
}

func prepareBase(parent, base string, uid int, account *syscall.Credential) error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(parent, &disk); err != nil {
		return fmt.Errorf("%s: %w", parent, err)
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < roomNeeded {
		return fmt.Errorf("%s has %d MiB free, %d are needed", parent, free>>20, roomNeeded>>20)
	}
	if account != nil && !openToAll(parent) {
		return fmt.Errorf("%s is closed to the account that the server runs as", parent)
	}
	if err := os.Mkdir(base, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// In a folder that all may write to, the name may have been taken by another.
	info, err := os.Lstat(base)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a folder that only we may write to", base)
	}
	switch int(owner.Uid) {
	case uid:
		return nil
	case os.Geteuid():
		return giveTo(account, base)
	}
	return fmt.Errorf("%s belongs to another account", base)
}

// openToAll reports whether every account may pass through path, a folder.
func openToAll(path string) bool {
	for {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		parent := filepath.Dir(path)
		if parent == path {
			return true
		}
		path = parent
	}
}

func giveTo(account *syscall.Credential, path string) error {
	if account == nil {
		return nil
	}
	return os.Lchown(path, int(account.Uid), int(account.Gid))
}
