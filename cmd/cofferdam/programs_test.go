package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"

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
	for _, method := range os.Args[1:] {
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
