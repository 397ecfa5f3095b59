// Command fakeserver takes the place of the isabelle command, as far as that is a
// server or talks to one:
//
//	fakeserver server [-L FILE] [-c] [-l] [-n NAME] [-p PORT] [-s] [-x]
//	fakeserver client [-n NAME] [-p PORT]
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"cofferdam/examples/isabelle/fakeserver"
	"cofferdam/examples/isabelle/fakeserver/registry"
	"cofferdam/examples/isabelle/protocol"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "***", err)
		os.Exit(2)
	}
}

func run(args []string) error {
	tool := "server"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		tool, args = args[0], args[1:]
	}
	f := flag.NewFlagSet("isabelle "+tool, flag.ExitOnError)
	name := f.String("n", "isabelle", "explicit server `name`")
	port := f.Int("p", 0, "explicit server `port`, 0 for any")
	var logFile string
	var console, list, existing, exit bool
	switch tool {
	case "server":
		f.StringVar(&logFile, "L", "", "logging on `file`")
		f.BoolVar(&console, "c", false, "console interaction with specified server")
		f.BoolVar(&list, "l", false, "list servers (alternative operation)")
		f.BoolVar(&existing, "s", false, "assume existing server, no implicit startup")
		f.BoolVar(&exit, "x", false, "exit specified server (alternative operation)")
	case "client":
		console, existing = true, true
	default:
		return fmt.Errorf("unknown Isabelle tool: %q", tool)
	}
	f.Parse(args)
	if f.NArg() > 0 {
		f.Usage()
		return fmt.Errorf("extra arguments %q", f.Args())
	}
	if strings.Contains(*name, `"`) {
		return fmt.Errorf("bad server name %q", *name)
	}
	o, err := fakeserver.Options{Name: *name, Port: *port}.Complete()
	if err != nil {
		return err
	}
	if logFile != "" {
		to, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer to.Close()
		o.Log = to
	}
	servers, err := registry.Open(o.UserHome)
	if err != nil {
		return err
	}
	defer servers.Close()
	if list {
		return printAll(servers)
	}
	entry, active, err := servers.Find(*name)
	if err != nil {
		return err
	}
	switch {
	case exit && !active:
		return errors.New("no server to exit")
	case exit:
		return talk(entry, strings.NewReader("shutdown\n"), io.Discard)
	case console && !active && existing, existing && !active:
		return fmt.Errorf("server %q not running", *name)
	case active && console:
		return talk(entry, os.Stdin, os.Stdout)
	case active:
		fmt.Println(entry.Line())
		return nil
	}
	return serve(o, servers, console)
}

func printAll(servers *registry.Registry) error {
	all, err := servers.All()
	for _, e := range all {
		if e.Active() {
			fmt.Println(e.Line())
		}
	}
	return err
}

// serve is the server until it is shut down.
func serve(o fakeserver.Options, servers *registry.Registry, console bool) error {
	s, err := fakeserver.Listen(o)
	if err != nil {
		return err
	}
	entry := registry.Entry{Name: o.Name, Port: s.Port, Password: s.Password}
	if err := servers.Add(entry); err != nil {
		return err
	}
	defer servers.Remove(entry)
	fmt.Println(s.Line())
	if console {
		go func() {
			talk(entry, os.Stdin, os.Stdout)
			s.Close()
		}()
	}
	return s.Serve()
}

// talk sends lines to a server and prints what it says, until either has no more.
func talk(entry registry.Entry, in io.Reader, out io.Writer) error {
	conn, r, err := entry.Dial(10 * time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			m, err := r.Message()
			if err != nil {
				return
			}
			fmt.Fprintf(out, "%s\n", m)
		}
	}()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		frame, err := protocol.Frame(nil, lines.Bytes())
		if err != nil {
			fmt.Fprintln(os.Stderr, "***", err)
			continue
		}
		if _, err := conn.Write(frame); err != nil {
			return err
		}
		if lines.Text() == "shutdown" {
			<-over
			return nil
		}
	}
	return lines.Err()
}
