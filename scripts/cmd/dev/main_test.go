package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// folderVariable makes this test binary a scripts/dev that stays up, with the folder that it names.
const folderVariable = "TOLLGATE_TEST_DEV_FOLDER"

func TestMain(m *testing.M) {
	if folder := os.Getenv(folderVariable); folder != "" {
		err := run(context.Background(), world{folder: folder, gateway: "127.0.0.1:0", out: os.Stdout, brief: true}, nil)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// screen is an output that can be waited for.
type screen struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await waits until the screen shows the text.
func (s *screen) await(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		s.mu.Lock()
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		shown, changed := s.text.String(), s.changed
		s.mu.Unlock()
		if strings.Contains(shown, text) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%q was not shown:\n%s", text, shown)
		}
	}
}

// A run that stays up until the test ends it.
type running struct {
	world
	*screen
	end func() error
}

func stay(t *testing.T, folder string) running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	r := running{screen: &screen{}}
	r.world = world{folder: folder, gateway: "127.0.0.1:0", out: r.screen, brief: true}
	go func() { ended <- run(ctx, r.world, nil) }()
	r.end = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = r.end() })
	r.await(t, "Ctrl-C ends everything.")
	return r
}

// command runs a command of another terminal.
func (r running) command(args ...string) (string, error) {
	var out bytes.Buffer
	err := run(context.Background(), world{folder: r.folder, out: &out}, args)
	return out.String(), err
}

var firstScene = []string{
	"create   201  AUTHORIZED", "payment.authorized, sequence 1, signature verified",
	"capture  200  CAPTURED", "payment.captured, sequence 2, signature verified",
	"refund   201  SUCCEEDED", "refund.created, sequence 3", "refund.succeeded, sequence 4",
	"Every step was as it should be.",
}

var otherScenes = []string{
	"insufficient_funds", "payment.failed",
	"dispute.opened, sequence 2, signature verified", "OPEN  dp_", "WON  dp_",
	"settlement.completed, sequence 1, signature verified", "SETTLED  authorized 800", "COMPLETED  stl_", "that the settlement has",
	"fee: expected 29, reported 34 JPY", "orphan: expected 0, reported 700 JPY",
	"approves at PayPal", "payment.authorized, sequence 2, signature verified", "3,900 taken",
	"authorizes the transfer", "read     200  PENDING", "goes on by 3h5m0s", "2,000 on their way back",
	"create   503  STRIPE_UNAVAILABLE", "circuit  200  open", "and 8 more, each verified", "circuit  200  closed",
	"goes on by 36h0m0s", "6 events: 2 given up, 4 held", "books         payment.captured, sequence 2, signature verified, nobody asked for it",
	"verified by the old secret", "verified by the new one",
}

func TestOnceTellsTheStory(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, brief := range []bool{false, true} {
		var out bytes.Buffer
		if err := run(t.Context(), world{folder: folder, out: &out, brief: brief}, []string{"--once"}); err != nil {
			t.Fatalf("%v\n%s", err, &out)
		}
		told, lines := out.String(), firstScene
		if !brief {
			lines = slices.Concat(firstScene, otherScenes)
		}
		for _, text := range lines {
			if !strings.Contains(told, text) {
				t.Errorf("the story lacks %q:\n%s", text, told)
			}
		}
		if strings.Contains(told, "\x1b") || strings.Contains(told, "WRONG") {
			t.Errorf("colour where there is no terminal, or something wrong:\n%s", told)
		}
	}
	left, err := os.ReadDir(folder)
	if err != nil || len(left) != 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

func TestOnceEndsWhenInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := &screen{}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, world{folder: t.TempDir(), out: s}, []string{"--once"}) }()
	s.await(t, "A payment's life")
	cancel()
	if err := <-ended; !errors.Is(err, errInterrupted) {
		t.Errorf("it ended with %v", err)
	}
}

func TestStaysUp(t *testing.T) {
	t.Parallel()
	r := stay(t, t.TempDir())
	now, err := r.command("clock", "now")
	if err != nil {
		t.Fatal(err)
	}
	began, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(now))
	if err != nil {
		t.Fatal(err)
	}
	moved, err := r.command("clock", "advance", "2h")
	if err != nil || !regexp.MustCompile(`due at 1[12]\d instants`).MatchString(moved) { // a sweep each minute: 120, give or take
		t.Errorf("clock advance: %v %s", err, moved)
	}
	now, err = r.command("clock", "now")
	if at, parse := time.Parse(time.RFC3339Nano, strings.TrimSpace(now)); err != nil || parse != nil || at.Sub(began) < 2*time.Hour {
		t.Errorf("after the advance it is %s (%v, %v), before it was %s", now, err, parse, began)
	}

	if health := regexp.MustCompile(`health\s+(http://\S+)`).FindStringSubmatch(r.String()); health == nil {
		t.Error("it does not say where health is")
	} else if resp, err := http.Get(health[1]); err != nil || resp.StatusCode != http.StatusOK || resp.Body.Close() != nil {
		t.Errorf("%s: %v, %v", health[1], resp, err)
	}

	answer := r.pasteCurl(t)
	paymentID := regexp.MustCompile(`pay_[0-9a-z]{26}`).FindString(answer)
	if paymentID == "" {
		t.Fatalf("the curl got %s", answer)
	}
	r.await(t, "payment.authorized, "+paymentID+", sequence 1, signature verified")

	other := stay(t, r.folder)
	if !strings.HasPrefix(other.String(), "Another scripts/dev is running here.") {
		t.Errorf("the second one says\n%s", other.String())
	}
	if err := other.end(); err != nil {
		t.Error(err)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
	if out, err := r.command("clock", "now"); !errors.Is(err, errNoneRuns) {
		t.Errorf("after the end: %v %s", err, out)
	}
}

// pasteCurl does what the printed curl would, as a shell reads it.
func (r running) pasteCurl(t *testing.T) string {
	t.Helper()
	_, command, _ := strings.Cut(r.String(), "Your turn\n")
	command, _, _ = strings.Cut(command, "\n\n")
	bin := t.TempDir()
	syscall.ForkLock.RLock() // or a process started in between would hold the file open, and it could not be run
	err := os.WriteFile(filepath.Join(bin, "curl"), []byte("#!/bin/sh\nprintf '%s\\n' \"$@\"\n"), 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	sh := exec.Command("/bin/sh", "-c", command)
	sh.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := sh.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, command)
	}
	args := strings.Split(strings.TrimSpace(string(out)), "\n")
	body := args[slices.Index(args, "-d")+1]
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, args[1], strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i, arg := range args {
		if arg == "-H" {
			name, value, _ := strings.Cut(args[i+1], ": ")
			req.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Errorf("%s was answered %d %s (%v)", command, resp.StatusCode, answer, err)
	}
	return string(answer)
}

func TestAKilledOneIsInNobodysWay(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	killed := exec.Command(os.Args[0])
	killed.Env = append(os.Environ(), folderVariable+"="+folder)
	s := &screen{}
	killed.Stdout, killed.Stderr = s, s
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = killed.Process.Kill() })
	s.await(t, "Ctrl-C ends everything.")
	outside := running{world: world{folder: folder, out: io.Discard}}
	if _, err := outside.command("clock", "now"); err != nil {
		t.Errorf("while it runs: %v", err)
	}
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait() // killed, as it should be
	if _, err := outside.command("clock", "now"); !errors.Is(err, errNoneRuns) {
		t.Errorf("after the kill: %v", err)
	}
	again := stay(t, folder)
	if strings.Contains(again.String(), "Another scripts/dev") {
		t.Errorf("the next one says\n%s", again.String())
	}
}

// A story that is not as it should be says so, and goes on.
func TestWhatIsWrongIsTold(t *testing.T) {
	t.Parallel()
	out := &screen{}
	s, err := begin(t.Context(), world{folder: t.TempDir(), out: out}, newPrinter(out), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.end)
	s.shop.Trust("whsec_" + strings.Repeat("A", 32)) // not the secret
	life := &story{printer: s.printer, stack: s.stack, shop: s.shop, api: s.api, brief: true, patience: 200 * time.Millisecond}
	life.tell(t.Context())
	if len(life.wrong) == 0 || !strings.Contains(strings.Join(life.wrong, "\n"), "no webhook payment.authorized") {
		t.Errorf("wrong are %q", life.wrong)
	}
	if told := out.String(); !strings.Contains(told, "WRONG  can't be trusted") || !strings.Contains(told, "CAPTURED") {
		t.Errorf("it told\n%s", told)
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"--help": "", "clock": "clock takes", "clock advance": "clock takes", "clock advance soon": "no duration",
		"clock advance -1h": "no duration", "twice": "no command", "--once more": "no command",
	} {
		var out bytes.Buffer
		err := run(t.Context(), world{folder: t.TempDir(), out: &out}, strings.Fields(line))
		_, usage := errors.AsType[usageError](err)
		if (want == "") != (err == nil) || want != "" && (!usage || status(err) != 2 || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
	if err := run(t.Context(), world{folder: t.TempDir(), out: io.Discard}, []string{"clock", "advance", "31h"}); !errors.Is(err, errNoneRuns) || status(err) != 1 {
		t.Errorf("with none running: %v", err)
	}
}

func TestGrouped(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", 5000: "5,000"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %s", n, got)
		}
	}
}
