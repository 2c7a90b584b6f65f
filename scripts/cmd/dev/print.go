package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// A printer writes the story. Colour is for terminals alone. It is safe for concurrent use.
type printer struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
}

func newPrinter(out io.Writer) *printer {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return &printer{out: out}
	}
	info, err := f.Stat()
	return &printer{out: out, colour: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// Write shows what programs say that install something.
func (p *printer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *printer) line(format string, args ...any) {
	_, _ = fmt.Fprintln(p, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

func (p *printer) heading(text string) {
	p.line("\n%s", p.paint(bold, text))
}

// step is one line of the story: how long it took, who did what, what came of it.
func (p *printer) step(took time.Duration, what string, text string) {
	p.line("  %s  %-8s %s", p.paint(dim, fmt.Sprintf("%5d ms", took.Milliseconds())), what, text)
}

func (p *printer) wrong(text string) {
	p.line("  %s", p.paint(red, fmt.Sprintf("%8s  %s", "WRONG", text)))
}

type style string

const (
	bold  style = "1"
	dim   style = "2"
	red   style = "31"
	green style = "32"
)

func (p *printer) paint(s style, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", grouped(n/1000), n%1000)
}
