// Package controltest gives tests of the control plane a Firestore, Google's emulator in a process of its own, and the
// suite that every control.Store passes.
package controltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tollgate/tollgate/shared/control"
)

const missing = `%w: what is to be shown here needs Google's Firestore emulator and Java 11 or later on PATH.
Install them with: apt-get install google-cloud-cli-firestore-emulator default-jre-headless
or, where gcloud came without apt: gcloud components install cloud-firestore-emulator`

// patience is how long the emulator may take to start.
const patience = 2 * time.Minute

// ErrMissing says that the machine has no emulator, or no Java to run it.
var ErrMissing = errors.New("no Firestore emulator")

// Emulator is a Firestore that holds its documents in memory. Every project that is named in it is there, and empty.
type Emulator struct {
	Addr string // host:port, on loopback

	stop func()
}

// Start starts an emulator, and stops it when the test ends. It takes a few seconds. Where there is none, the test is
// skipped, and says so: it comes from Google alone, by no registry that every machine can reach.
func Start(t testing.TB) *Emulator {
	t.Helper()
	e, err := Launch()
	if errors.Is(err, ErrMissing) {
		t.Skipf("SKIPPED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Kill)
	return e
}

// Installed is nil where an emulator can be started, and else says what to install.
func Installed() error {
	_, err := findJar()
	return err
}

// Kill ends the emulator at once, as if its machine had gone.
func (e *Emulator) Kill() { e.stop() }

// Options make a client of Firestore use the emulator.
func (e *Emulator) Options() []option.ClientOption {
	return []option.ClientOption{
		option.WithEndpoint(e.Addr),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
}

// Open opens a store in the emulator, and closes it when the test ends.
func (e *Emulator) Open(t testing.TB, project string) *control.Firestore {
	t.Helper()
	store, err := control.Open(t.Context(), control.Config{Project: project}, e.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// script starts the emulator, by the settings that make Java start fast, and ends it when its input does, which is at
// the latest when this process ends, however it does.
const script = `exec 3<&0
java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Duser.language=en -cp "$1" com.google.cloud.datastore.emulator.firestore.CloudFirestore --host=127.0.0.1 --port="$2" 3<&- &
emulator=$!
(cat <&3; kill -9 $emulator) >/dev/null 2>&1 &
exec 3<&-
wait $emulator`

// Launch starts an emulator for a program that is no test. Kill ends it, and so does the end of the program.
func Launch() (*Emulator, error) {
	jar, err := findJar()
	if err != nil {
		return nil, fmt.Errorf("controltest: %w", err)
	}
	// A free port may be taken by someone else before the emulator binds it.
	for try := 1; ; try++ {
		e, err := launch(jar)
		if err == nil {
			return e, nil
		}
		if !strings.Contains(err.Error(), "Address already in use") || try == 5 {
			return nil, fmt.Errorf("controltest: %w", err)
		}
	}
}

func launch(jar string) (*Emulator, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("sh", "-c", script, "sh", jar, port)
	said := &tail{}
	cmd.Stdout, cmd.Stderr = said, said
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	e := &Emulator{Addr: "127.0.0.1:" + port, stop: func() {
		_ = input.Close()
		<-ended
	}}
	if err := e.await(ended); err != nil {
		e.stop()
		return nil, fmt.Errorf("%w\n%s", err, said)
	}
	return e, nil
}

// await returns when the emulator answers.
func (e *Emulator) await(ended <-chan struct{}) error {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	late := time.NewTimer(patience)
	defer late.Stop()
	client := &http.Client{Timeout: 10 * time.Second}
	for {
		if resp, err := client.Get("http://" + e.Addr + "/"); err == nil {
			_ = resp.Body.Close()
			return e.warm()
		}
		select {
		case <-ended:
			return errors.New("the Firestore emulator ended at once")
		case <-late.C:
			return fmt.Errorf("the Firestore emulator did not answer for %v", patience)
		case <-again.C:
		}
	}
}

// warm makes the first changes, which take the emulator longer than those who use a store wait for it.
func (e *Emulator) warm() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	store, err := control.Open(ctx, control.Config{Project: "warm"}, e.Options()...)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	for n := range int64(3) {
		err := store.Change(ctx, "warm/up", func(control.Document) (control.Document, error) {
			return control.Document{"n": n}, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// findJar finds the emulator beside gcloud, and where packages put it.
func findJar() (string, error) {
	if _, err := exec.LookPath("java"); err != nil {
		return "", fmt.Errorf(missing, errors.Join(ErrMissing, err))
	}
	sdks := []string{"/usr/lib/google-cloud-sdk", "/usr/share/google-cloud-sdk", "/opt/google-cloud-sdk"}
	if gcloud, err := exec.LookPath("gcloud"); err == nil {
		if gcloud, err = filepath.EvalSymlinks(gcloud); err == nil {
			sdks = append([]string{filepath.Dir(filepath.Dir(gcloud))}, sdks...)
		}
	}
	for _, sdk := range sdks {
		jar := filepath.Join(sdk, "platform", "cloud-firestore-emulator", "cloud-firestore-emulator.jar")
		if _, err := os.Stat(jar); err == nil {
			return jar, nil
		}
	}
	return "", fmt.Errorf(missing, ErrMissing)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// tail keeps the end of what a process says.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const keep = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-keep):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
