package pglocal

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// The supervisor is a shell between us and the server. It is what makes a
// killed owner leave nothing behind: whatever way this process ends, the kernel
// closes its end of the pipe that is the supervisor's standard input, and the
// supervisor stops the server and removes the folder.
//
// Descriptors: 0 the leash, read until its end; 3 open while the server lives;
// 4 the folder's lock, held as long as the supervisor lives. Background jobs of
// a shell get no standard input, hence the copy on 5.
//
// QUIT is PostgreSQL's immediate shutdown: nobody needs the data any more. It
// is sent until it is heard, since a server that is only just starting ignores it.
const supervisor = `
trap '' HUP INT TERM
dir=$1; shift
exec 5<&0
"$@" </dev/null 3>&- 4>&- 5<&- &
server=$!
(
	exec 3>&-
	read -r _ <&5
	while kill -s QUIT $server; do sleep 0.2; done 2>/dev/null
) &
wait $server
exec 3>&-
wait
cd / && rm -rf "$dir"
`

// supervise starts the server under a supervisor, in a session of its own so
// that an interrupt typed at the terminal reaches only us.
func (s *Server) supervise(server []string, account *syscall.Credential, work *workspace, log *os.File) error {
	leashEnd, leash, err := os.Pipe()
	if err != nil {
		return err
	}
	exited, exitedEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", supervisor, "sh", work.dir}, server...)...)
	cmd.Dir = work.dir
	cmd.Env = environment
	cmd.Stdin, cmd.Stdout, cmd.Stderr = leashEnd, log, log
	cmd.ExtraFiles = []*os.File{exitedEnd, work.lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: account}
	err = cmd.Start()
	_, _ = leashEnd.Close(), exitedEnd.Close()
	if err != nil {
		_, _ = leash.Close(), exited.Close()
		return fmt.Errorf("start the server's supervisor: %w", err)
	}
	s.supervisor, s.leash, s.exited = cmd, leash, exited
	return nil
}
