package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"cofferdam/sdk"
)

// caller is a program for scripts: it calls the methods that are its arguments,
// one after the other, and prints what became of each.
func caller() {
	c, err := sdk.Connect(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	methods := os.Args[1:]
	if methods[0] == "-again" { // and again, on the one connection
		methods = slices.Repeat(methods[1:], 10_000)
	}
	for i, method := range methods {
		if i >= len(os.Args) {
			time.Sleep(50 * time.Millisecond)
		}
		reply, err := c.Call(context.Background(), method, []byte("hello"))
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Printf("%s: %s\n", method, reply)
	}
}

// careless is cofferdam with a hole: its canary is told of a file of the host that
// is there inside too.
func careless() {
	const bait = "COFFERDAM_CANARY"
	if len(os.Args) > 1 && os.Args[1] == roleCanary {
		var told map[string]any
		if err := json.Unmarshal([]byte(os.Getenv(bait)), &told); err != nil {
			panic(err)
		}
		told["file"] = "/etc/hosts"
		text, err := json.Marshal(told)
		if err != nil {
			panic(err)
		}
		os.Setenv(bait, string(text))
	}
	main()
}

// mounter is a program for scripts: it mounts DIR INTO CLIENT or, with -u before
// them, takes that back, and prints where it is.
func mounter() {
	ctx := context.Background()
	c, err := sdk.Connect(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	args := append(os.Args[1:], "", "", "")
	path := ""
	if args[0] == "-u" {
		err = c.Unmount(ctx, args[1], sdk.MountOptions{Into: args[2], Client: args[3]})
	} else {
		path, err = c.Mount(ctx, args[0], sdk.MountOptions{Into: args[1], Client: args[2]})
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(path)
}

// answerer is a program for scripts: it serves the methods that are its
// arguments, and HTTP on port 8081 if it is told where with ANSWERER_HTTP.
func answerer() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if addr := os.Getenv("ANSWERER_HTTP"); addr != "" {
		go http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s for %s\n", r.URL.Path, r.Header.Get("Cofferdam-Caller"))
		}))
	}
	if len(os.Args) == 1 {
		<-ctx.Done()
		return
	}
	c, err := sdk.Connect(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	handlers := make(map[string]sdk.Handler)
	for _, method := range os.Args[1:] {
		handlers[method] = func(_ context.Context, from sdk.Caller, body []byte) ([]byte, error) {
			return fmt.Appendf(nil, "%s from %s", body, from.Service), nil
		}
	}
	fmt.Println("serving")
	c.Serve(ctx, handlers)
}

// ledger is a program to be killed: /next appends the next number to /data/ledger, calls
// peer.ping and nobody.secret, and answers with the number once it is on the disk; /spawn
// runs the template job.
func ledger() {
	fatal := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	c, err := sdk.Connect(context.Background())
	if err != nil {
		fatal(err)
	}
	f, err := os.OpenFile("/data/ledger", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		fatal(err)
	}
	text, err := os.ReadFile(f.Name())
	if err != nil {
		fatal(err)
	}
	last, end := 0, int64(0)
	for line := range bytes.Lines(text) {
		var n int
		if _, err := fmt.Sscanf(string(line), "%d\n", &n); err != nil {
			break // not finished, and so never answered
		}
		if n != last+1 {
			fatal(fmt.Errorf("number %d comes after %d", n, last))
		}
		last, end = n, end+int64(len(line))
	}
	var mu sync.Mutex
	next := func() (int, error) {
		mu.Lock()
		defer mu.Unlock()
		line := fmt.Appendf(nil, "%d\n", last+1)
		if _, err := f.WriteAt(line, end); err != nil {
			return 0, err
		}
		last, end = last+1, end+int64(len(line))
		return last, f.Sync()
	}
	http.ListenAndServe("127.0.0.1:8081", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/spawn" {
			exit, err := c.Spawn(r.Context(), "job", sdk.SpawnOptions{})
			fmt.Fprintf(w, "%s %d %v\n", exit.Cause, exit.Code, err)
			return
		}
		n, err := next()
		if err == nil {
			_, err = c.Call(r.Context(), "peer.ping", nil)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		c.Call(r.Context(), "nobody.secret", nil)
		fmt.Fprintln(w, n)
	}))
}
