package measure

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Work is CPU time so far, in hundredths of a second.
type Work struct {
	all       float64 // that there was
	busy      float64 // of it
	family    float64 // of it by this process, and by those that it started and that are still there
	self      float64 // of it by this process
	functions float64 // of it by the processes that were named
}

// CPU is what was used of the machine between two moments.
type CPU struct {
	Own    float64 `json:"cpu_percent"`        // of the machine, by this process and those it started
	Others float64 `json:"others_cpu_percent"` // of the machine, by all else: they were measured too

	// Own in CPUs, by who used it.
	Functions float64 `json:"functions_cpus"` // the named processes
	Database  float64 `json:"database_cpus"`  // all others that this process started
	Load      float64 `json:"load_cpus"`      // this process: the load, and what stands in for Google and merchants
}

// Cores is Own in CPUs.
func (c CPU) Cores() float64 { return c.Functions + c.Database + c.Load }

// WorkSoFar reads it where Linux tells it; elsewhere it is zero.
func WorkSoFar(functions ...int) (w Work) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return w
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for n, field := range strings.Fields(line) {
		var v float64
		if _, err := fmt.Sscan(field, &v); err != nil || n > 8 { // guests' time is in the first ones
			continue
		}
		w.all += v
		if n != 4 && n != 5 { // idle, waiting for disks
			w.busy += v
		}
	}
	children, own := processes()
	self := os.Getpid()
	w.self = own[self]
	for _, pid := range functions {
		w.functions += own[pid]
	}
	for todo := []int{self}; len(todo) > 0; todo = todo[1:] {
		w.family += own[todo[0]]
		todo = append(todo, children[todo[0]]...)
	}
	return w
}

// processes are the children, and the CPU time, of each process.
func processes() (children map[int][]int, own map[int]float64) {
	children, own = map[int][]int{}, map[int]float64{}
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		var pid, parent int
		var user, system float64
		// The second field is a name in brackets, which may hold anything (proc_pid_stat(5)).
		end := strings.LastIndexByte(string(text), ')')
		fields := strings.Fields(string(text[end+1:]))
		_, err = fmt.Sscan(string(text), &pid)
		if err != nil || len(fields) < 13 {
			continue
		}
		if _, err := fmt.Sscan(strings.Join([]string{fields[1], fields[11], fields[12]}, " "), &parent, &user, &system); err != nil {
			continue
		}
		children[parent] = append(children[parent], pid)
		own[pid] = user + system
	}
	return children, own
}

// Since is what was used from before until w.
func (w Work) Since(before Work) (c CPU) {
	all := w.all - before.all
	if all <= 0 {
		return c
	}
	c.Own = max(0, math.Round(100*(w.family-before.family)/all)) // less if some have ended
	c.Others = max(0, math.Round(100*(w.busy-before.busy)/all)-c.Own)
	cores := func(ticks float64) float64 {
		return math.Round(100*float64(runtime.NumCPU())*max(0, ticks)/all) / 100
	}
	c.Functions = cores(w.functions - before.functions)
	c.Load = cores(w.self - before.self)
	c.Database = cores((w.family - before.family) - (w.functions - before.functions) - (w.self - before.self))
	return c
}
