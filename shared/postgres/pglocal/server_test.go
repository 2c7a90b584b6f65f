package pglocal

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// ownerVariable makes this test binary start a server, print its folder and
// address, and then wait to be killed.
const ownerVariable = "PGLOCAL_TEST_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerVariable) == "" {
		os.Exit(m.Run())
	}
	s, err := Start(context.Background(), Options{})
	if err != nil {
		panic(err)
	}
	_, _ = os.Stdout.WriteString(s.dir + " " + s.URL("postgres") + "\n")
	select {}
}

func TestServerAnswersAndStopsWithoutATrace(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := Start(ctx, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{
		"fsync": "off", "max_connections": "400", "timezone": "UTC",
		"listen_addresses": "127.0.0.1", "server_encoding": "UTF8",
	}
	for name, want := range settings {
		var got string
		if err := conn.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	s.Stop()
	s.Stop()
	if err := conn.Ping(ctx); err == nil {
		t.Error("a connection survived Stop")
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is still there after Stop: %v", err)
	}
}

func TestFsyncKeepsTheDataOnDisk(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), Options{Fsync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	if strings.HasPrefix(s.dir, "/dev/shm") {
		t.Errorf("the data is in memory: %s", s.dir)
	}
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	var fsync string
	if err := conn.QueryRow(t.Context(), "SHOW fsync").Scan(&fsync); err != nil {
		t.Fatal(err)
	}
	if fsync != "on" {
		t.Errorf("fsync is %s", fsync)
	}
}

func TestAWrongPasswordIsRefused(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	u, err := url.Parse(s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(superuser, "guess")
	conn, err := pgx.Connect(t.Context(), u.String())
	if err == nil {
		_ = conn.Close(t.Context())
		t.Error("connected with a guessed password")
	}
}

func TestKillingTheOwnerStopsTheServerAndRemovesItsData(t *testing.T) {
	t.Parallel()
	owner, dir, address := startOwner(t)
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	waitUntil(t, "the folder is gone", func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, fs.ErrNotExist)
	})
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("the server outlived its owner")
	}
}

// When the supervisor dies too, as in a crash of the machine, the folder stays,
// and the next start removes it.
func TestTheNextStartRemovesWhatNobodyOwns(t *testing.T) {
	t.Parallel()
	owner, dir, _ := startOwner(t)
	killSupervision(t, owner.Process.Pid)
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	waitUntil(t, "a start removes the dead folder", func() bool {
		s, err := Start(t.Context(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Stop()
		_, err = os.Stat(dir)
		return errors.Is(err, fs.ErrNotExist)
	})
}

func TestAServerThatNobodyRefersToGoesOn(t *testing.T) {
	t.Parallel()
	address, stop := func() (string, func()) {
		s, err := Start(t.Context(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		pid := s.supervisor.Process.Pid
		return s.URL("postgres"), func() { _ = syscall.Kill(-pid, syscall.SIGTERM) }
	}()
	t.Cleanup(stop)
	for range 3 {
		runtime.GC()
	}
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatalf("it ended: %v", err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestStartLeavesAloneWhatIsAlive(t *testing.T) {
	t.Parallel()
	first, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(first.Stop)
	second, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	second.Stop()
	conn, err := pgx.Connect(t.Context(), first.URL("postgres"))
	if err != nil {
		t.Fatalf("the first server is gone: %v", err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func startOwner(t *testing.T) (owner *exec.Cmd, dir, address string) {
	t.Helper()
	owner = exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), ownerVariable+"=1")
	owner.Stderr = os.Stderr
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = owner.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	dir, address, _ = strings.Cut(strings.TrimSpace(line), " ")
	return owner, dir, address
}

// killSupervision ends everything that watches over the owner's server: its
// shells with KILL, and the server with QUIT, since a killed one leaves its
// System V segment to the machine.
func killSupervision(t *testing.T, owner int) {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for _, p := range processes {
		pid, err := strconv.Atoi(filepath.Base(p))
		if err != nil {
			t.Fatal(err)
		}
		leader, err := syscall.Getpgid(pid)
		if err != nil || parentOf(leader) != owner {
			continue
		}
		name, err := os.ReadFile(filepath.Join(p, "comm"))
		if err != nil {
			continue
		}
		signal := syscall.SIGKILL
		if strings.TrimSpace(string(name)) == "postgres" {
			signal = syscall.SIGQUIT
		}
		if err := syscall.Kill(pid, signal); err != nil {
			t.Fatal(err)
		}
		killed++
	}
	if killed < 3 {
		t.Fatalf("killed %d processes, want the supervisor's two shells and the server", killed)
	}
}

func parentOf(pid int) int {
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "PPid:"); ok {
			parent, _ := strconv.Atoi(strings.TrimSpace(value))
			return parent
		}
	}
	return 0
}

// waitUntil asks every 10 ms, for at most two minutes.
func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for !done() {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
