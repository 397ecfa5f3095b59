package main

import (
	"net"
	"os"
)

// notifyEnv is where a service manager wants to hear of us: sd_notify(3).
const notifyEnv = "NOTIFY_SOCKET"

// notifier tells the service manager how it goes. The zero value tells nobody.
type notifier struct{ conn *net.UnixConn }

// newNotifier connects while we may: later the trusted process is another user. No
// process that we start learns of the socket.
func newNotifier() notifier {
	path := os.Getenv(notifyEnv)
	os.Unsetenv(notifyEnv)
	if path == "" || path[0] != '/' && path[0] != '@' {
		return notifier{}
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return notifier{} // the manager gives up on us then, and says so
	}
	return notifier{c}
}

// say sends a state, such as "READY=1". Whether anybody hears it is not our affair.
func (n notifier) say(state string) {
	if n.conn != nil {
		n.conn.Write([]byte(state))
	}
}
