// Package admin says how the operator sees and steers a running application.
//
// The application listens on a Unix socket that only its owner can reach. A
// connection carries one [Request] as a line of JSON, with the streams of an
// exec as descriptors beside it, and then [Response] lines until it ends.
// Closing the connection withdraws the request.
//
// Trusted: yes. Who reaches the socket commands the application.
package admin

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"cofferdam/audit"
	"cofferdam/executor"
	"cofferdam/numbers"
	"cofferdam/supervisor"
)

// Op is what the operator asks for.
type Op string

// The operations.
const (
	OpStatus Op = "status" // one response with Services
	OpTurns  Op = "turns"  // one response with Services: those that wait for a turn
	OpMounts Op = "mounts" // one response with Mounts
	OpLogs   Op = "logs"   // a response per Line, from now on
	OpExec   Op = "exec"   // one response with Exit
	OpStats  Op = "stats"  // one response with Stats
	OpFlush  Op = "flush"  // one response with Head once all that was decided is in the log's files
	OpGrant  Op = "grant"  // one response with Change, once it is in force
	OpRevoke Op = "revoke" // as grant
	OpGrants Op = "grants" // one response with Grants, Live and Revoked
	OpEvents Op = "events" // one response with Head, and then one per Event or with Lost, from there on
	OpOrder  Op = "order"  // a response with Said for each step; Order says which it is
	OpReload Op = "reload" // as order, and one with Plan; the manifest is a descriptor beside it
	OpKill   Op = "kill"   // as order, with one Said
	OpStop   Op = "stop"   // one response once all is stopped; the end once the process is gone
)

// maxRequestBytes bounds a request line.
const maxRequestBytes = 256 << 10

var errTooLong = fmt.Errorf("longer than %d bytes", maxRequestBytes)

// Request is what the operator asks.
type Request struct {
	Op      Op       `json:"op"`
	Service string   `json:"service,omitempty"` // logs and events ("" for all), exec
	Args    []string `json:"args,omitempty"`    // exec
	Env     []string `json:"env,omitempty"`     // exec, added to the service's own
	Dir     string   `json:"dir,omitempty"`     // exec

	Live    *supervisor.Live `json:"live,omitempty"`    // grant, revoke
	For     int64            `json:"for_ns,omitempty"`  // grant; 0 for no end
	Kinds   []audit.Kind     `json:"kinds,omitempty"`   // events; none for all
	Allowed bool             `json:"allowed,omitempty"` // events: what was permitted, too

	Order    string   `json:"order,omitempty"`     // restart, stop or start
	Services []string `json:"services,omitempty"`  // of an order; none for all
	Within   int64    `json:"within_ns,omitempty"` // order: until one must be ready; 0 for the usual time
	Signal   int      `json:"signal,omitempty"`    // kill

	Written *supervisor.Written `json:"written,omitempty"` // reload
	DryRun  bool                `json:"dry_run,omitempty"` // reload: only say what it takes
}

// Response is one line of the answer.
type Response struct {
	App      *App                 `json:"app,omitempty"`
	Services []supervisor.Status  `json:"services,omitempty"`
	Mounts   []supervisor.Mounted `json:"mounts,omitempty"`
	Stats    *numbers.Snapshot    `json:"stats,omitempty"`
	Line     *supervisor.Line     `json:"line,omitempty"`
	Change   *supervisor.Change   `json:"change,omitempty"`
	Grants   []supervisor.Grant   `json:"grants,omitempty"`
	Live     []supervisor.Live    `json:"live,omitempty"`    // what was given since the manifest was read
	Revoked  []supervisor.Grant   `json:"revoked,omitempty"` // and taken back
	Plan     *supervisor.Plan     `json:"plan,omitempty"`
	Said     string               `json:"said,omitempty"` // of what is being done
	Done     bool                 `json:"done,omitempty"` // of an order, a reload and a kill: all of it is done
	Exit     *executor.Exit       `json:"exit,omitempty"`
	Head     *audit.Head          `json:"head,omitempty"`
	Event    json.RawMessage      `json:"event,omitempty"` // an audit.Record
	Lost     uint64               `json:"lost,omitempty"`  // events that came after the one before and were not read in time
	Error    string               `json:"error,omitempty"`
	Code     int                  `json:"code,omitempty"` // exit code that goes with Error
}

// App is the application as a whole.
type App struct {
	Name     string `json:"name"`
	Manifest string `json:"manifest"`
	Pid      int    `json:"pid"`
	UptimeNS int64  `json:"uptime_ns"`
	URL      string `json:"url,omitempty"`
}

// checkPeer lets root and the user who started the application in, and says who it is.
func checkPeer(nc *net.UnixConn, owner int) (user int, err error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return -1, err
	}
	var cred *unix.Ucred
	ctlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if ctlErr != nil {
		return -1, ctlErr
	}
	if err != nil {
		return -1, err
	}
	if cred.Uid != 0 && int(cred.Uid) != owner {
		return -1, fmt.Errorf("user %d may not steer this application", cred.Uid)
	}
	return int(cred.Uid), nil
}

// receive reads the request line and the descriptors sent with its first byte.
func receive(nc *net.UnixConn) (line []byte, files []*os.File, err error) {
	buf := make([]byte, maxRequestBytes)
	oob := make([]byte, unix.CmsgSpace(3*4))
	n, oobn, flags, _, err := nc.ReadMsgUnix(buf, oob)
	if err != nil {
		return nil, nil, err
	}
	files, err = filesOf(oob[:oobn])
	if err == nil && flags&unix.MSG_CTRUNC != 0 {
		err = fmt.Errorf("more descriptors than an exec takes")
	}
	for err == nil && buf[n-1] != '\n' {
		if n == len(buf) {
			err = errTooLong
			break
		}
		var more int
		more, err = nc.Read(buf[n:])
		n += more
	}
	if err != nil {
		closeAll(files)
		return nil, nil, err
	}
	return buf[:n], files, nil
}

func filesOf(oob []byte) ([]*os.File, error) {
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range msgs {
		fds, err := syscall.ParseUnixRights(&msgs[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			syscall.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "stream"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
