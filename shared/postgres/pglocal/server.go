// Package pglocal runs a PostgreSQL server of its own for tests and for the
// local stack: found on the machine, with fresh data, on a free loopback port,
// and gone without a trace when its owner stops it or dies.
//
// It is not for data that anyone wants to keep, and never linked into a
// deployed function.
package pglocal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options say how the server differs from the usual one.
type Options struct {
	// Fsync makes commits reach the disk, and the data live on one. Without it
	// the server is several times faster and loses data when the machine (not
	// the process) stops, which nobody minds of data that is thrown away.
	Fsync bool
}

// A Server is a running server that belongs to this process.
type Server struct {
	Binaries Binaries // what it runs

	dir      string
	port     int
	password string

	supervisor *exec.Cmd
	leash      *os.File // closing it stops the server; the kernel does so when we die
	exited     *os.File // reads EOF once the server is no more

	stop sync.Once
}

// Start makes a database cluster and starts a server on it, which takes one to
// two seconds. It returns when the server answers. The server outlives ctx,
// but not this process.
func Start(ctx context.Context, o Options) (*Server, error) {
	found, err := Find()
	if err != nil {
		return nil, err
	}
	// A free port may be taken by someone else before the server binds it.
	for try := 1; ; try++ {
		s, err := start(ctx, o, found)
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, errPortTaken) || try == 5 {
			return nil, fmt.Errorf("pglocal: %w", err)
		}
	}
}

// URL is the address of a database of this server, as its superuser.
// The database "postgres" always exists.
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, s.password),
		Host:     net.JoinHostPort(loopback, strconv.Itoa(s.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Stop ends the server and every connection to it, and removes its data.
// Stopping twice is harmless.
func (s *Server) Stop() {
	s.stop.Do(func() {
		running.Delete(s)
		_ = s.leash.Close()
		hung := time.AfterFunc(20*time.Second, func() {
			// The supervisor leads a process group that the server is in.
			_ = syscall.Kill(-s.supervisor.Process.Pid, syscall.SIGKILL)
		})
		defer hung.Stop()
		_ = s.supervisor.Wait() // its status says nothing that matters here
		_ = s.exited.Close()
		_ = os.RemoveAll(s.dir)
	})
}

const (
	loopback  = "127.0.0.1"
	superuser = "postgres"

	startTimeout = 3 * time.Minute // on a machine that does much else
	pollInterval = 10 * time.Millisecond
)

func start(ctx context.Context, o Options, found Binaries) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	work, err := newWorkspace(account, o.Fsync)
	if err != nil {
		return nil, err
	}
	defer work.release()
	s := &Server{Binaries: found, dir: work.dir}
	if err := s.start(ctx, o, found, account, work); err != nil {
		return nil, errors.Join(err, os.RemoveAll(work.dir))
	}
	running.Store(s, nil)
	return s, nil
}

// running keeps servers that nobody refers to any more from being collected,
// which would close their leash.
var running sync.Map

func (s *Server) start(ctx context.Context, o Options, found Binaries, account *syscall.Credential, work *workspace) error {
	found, err := found.reachableBy(account, s.dir)
	if err != nil {
		return err
	}
	var verifier string
	s.password, verifier = NewPassword()
	if err := initdb(ctx, found, account, s.dir, verifier); err != nil {
		return err
	}
	if s.port, err = freePort(); err != nil {
		return err
	}
	logPath := filepath.Join(s.dir, "log")
	log, err := os.Create(logPath)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	server := append([]string{found.path("postgres")}, s.settings(o)...)
	if err := s.supervise(server, account, work, log); err != nil {
		return err
	}
	if err := s.ready(ctx); err != nil {
		said, _ := os.ReadFile(logPath)
		s.Stop()
		if bytes.Contains(said, []byte("could not create any TCP/IP sockets")) {
			return errPortTaken
		}
		return fmt.Errorf("the server did not start: %w\n%s", err, bytes.TrimSpace(said))
	}
	return nil
}

func initdb(ctx context.Context, found Binaries, account *syscall.Credential, dir, verifier string) error {
	passwordFile := filepath.Join(dir, "password")
	if err := os.WriteFile(passwordFile, []byte(verifier), 0o600); err != nil {
		return err
	}
	if err := giveTo(account, passwordFile); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, found.path("initdb"),
		"--pgdata="+filepath.Join(dir, "data"), "--username="+superuser,
		"--auth=scram-sha-256", "--pwfile="+passwordFile,
		"--encoding=UTF8", "--locale=C", "--no-sync")
	cmd.Dir = dir
	cmd.Env = environment
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: account}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}

// environment keeps the caller's PG* variables and locale away from the server.
var environment = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}

var errPortTaken = errors.New("another process took the server's port")

func (s *Server) settings(o Options) []string {
	args := []string{"-D", filepath.Join(s.dir, "data")}
	for _, setting := range []string{
		"listen_addresses=" + loopback,
		"port=" + strconv.Itoa(s.port),
		"unix_socket_directories=",
		"max_connections=400",
		"timezone=UTC",
		"log_timezone=UTC",
		"log_min_messages=fatal", // tests provoke errors by the thousand
		"wal_level=minimal",
		"max_wal_senders=0",
		"dynamic_shared_memory_type=mmap", // in the data folder, so it goes with it
	} {
		args = append(args, "-c", setting)
	}
	if !o.Fsync {
		args = append(args, "-c", "fsync=off", "-c", "full_page_writes=off")
	}
	return args
}

// ready returns nil when the server answers, and an error when it has exited.
func (s *Server) ready(ctx context.Context) error {
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		if ctx.Err() != nil {
			return err
		}
		if err := s.exited.SetReadDeadline(time.Now().Add(pollInterval)); err != nil {
			return err
		}
		if _, err := s.exited.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			return errors.New("it exited")
		}
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
