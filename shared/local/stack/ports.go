package stack

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// A port that is only known to be free may be taken before it is used, and a host that was killed must come back at
// its own. So the stack keeps a socket bound to each address of the host, which the kernel then gives to nobody else,
// and does not listen on it; the host binds the same address by SO_REUSEPORT, and gets all of its connections.

// reservation holds addresses.
type reservation struct{ sockets []int }

// reserve returns so many free addresses of loopback, which are ours until release.
func (r *reservation) reserve(n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		address, err := r.one()
		if err != nil {
			return nil, fmt.Errorf("reserve an address: %w", err)
		}
		addresses[i] = address
	}
	return addresses, nil
}

func (r *reservation) one() (string, error) {
	syscall.ForkLock.RLock() // or a child started in between would hold the address too
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return "", err
	}
	r.sockets = append(r.sockets, fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return "", err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return "", err
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("127.0.0.1:%d", bound.(*unix.SockaddrInet4).Port), nil
}

func (r *reservation) release() {
	for _, fd := range r.sockets {
		_ = unix.Close(fd)
	}
	r.sockets = nil
}

// listenReserved listens at an address that a reservation may hold.
func listenReserved(address string) (net.Listener, error) {
	shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		if err != nil {
			return err
		}
		return failed
	}}
	return shared.Listen(context.Background(), "tcp", address)
}
