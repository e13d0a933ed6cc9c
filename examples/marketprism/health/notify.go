package health

import (
	"net"
	"os"
)

// The states that a supervisor is told, in the words of sd_notify(3).
const (
	Ready    = "READY=1"    // the parts of the process run
	Watchdog = "WATCHDOG=1" // its main loop turns
	Stopping = "STOPPING=1" // it ends in order
)

// Notify tells the supervisor that started the process, systemd with Type=notify, a state. Without one it
// does nothing.
func Notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}
