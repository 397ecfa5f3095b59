// Command server runs an Isabelle server in the instance of a tenant: that of
// $ISABELLE_HOME if it is set, or else the program that is given.
//
//	server [-listen 127.0.0.1:4711] /app/fakeserver
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"cofferdam/examples/isabelle/server"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:4711", "`address` to listen at")
	work := flag.String("work", "/tmp", "`directory` for what the server writes")
	flag.Parse()
	if err := run(*listen, *work, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func run(listen, work string, command []string) error {
	home, sessions := filepath.Join(work, "home"), filepath.Join(work, "sessions")
	user := filepath.Join(home, "isabelle")
	if err := os.MkdirAll(filepath.Join(user, "etc"), 0o700); err != nil {
		return err
	}
	if isabelle := os.Getenv("ISABELLE_HOME"); isabelle != "" {
		command = []string{filepath.Join(isabelle, "bin", "isabelle"), "server"}
		// The server's own settings say where its temporary files are, whatever the environment does.
		settings := fmt.Sprintf("ISABELLE_TMP_PREFIX=%q\n", sessions)
		if err := os.WriteFile(filepath.Join(user, "etc", "settings"), []byte(settings), 0o600); err != nil {
			return err
		}
	}
	if len(command) == 0 {
		return fmt.Errorf("neither $ISABELLE_HOME nor a program to run")
	}
	s, err := server.Start(context.Background(), server.Options{
		Command: command, Sessions: sessions, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Env: append(os.Environ(), "HOME="+home, "USER=isabelle", "USER_HOME="+home, "ISABELLE_HOME_USER="+user, "ISABELLE_TMP_PREFIX="+sessions),
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	go s.Serve(l)
	return s.Wait() // without the server there is nothing to lead to
}
