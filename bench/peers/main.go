// Command peers are the peers that are libraries: each role is one process of those
// that `go run ./bench` measures beside ours.
//
//	peers grpc-serve DIR · grpc-call DIR SIZE N        over DIR/grpc
//	peers nats-server DIR · nats-serve DIR · nats-call DIR SIZE N
//
// Who serves says "ready" and goes on until it is killed; who calls compares every
// answer with the right one, and prints what bench/own calls a Reading. go-judge,
// which is a program as it comes, is built from this module too (`go build tool`).
//
// It is a module of its own, so that the software has none of what it is measured
// beside among its dependencies.
//
// Trusted: no.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: peers ROLE DIR [SIZE N]")
	}
	role, dir := args[0], args[1]
	switch role {
	case "grpc-serve":
		return grpcServe(dir)
	case "nats-server":
		return natsServer(dir)
	case "nats-serve":
		return natsServe(dir)
	}
	if len(args) != 4 {
		return fmt.Errorf("usage: peers %s DIR SIZE N", role)
	}
	size, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	switch role {
	case "grpc-call":
		return grpcCall(dir, size, n)
	case "nats-call":
		return natsCall(dir, size, n)
	}
	return fmt.Errorf("no role %q", role)
}

// ready tells who started us that we serve.
func ready() { fmt.Println("ready") }

// measure asks n times, after a tenth of that to warm up, and prints the times in µs.
func measure(size, n int, ask func(body []byte) ([]byte, error)) error {
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(i*7 + i>>8)
	}
	var samples []float64
	for i := -n / 10; i < n; i++ {
		began := time.Now()
		got, err := ask(body)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, body) {
			return fmt.Errorf("echo of %d bytes gave %d others", size, len(got))
		}
		if i >= 0 {
			samples = append(samples, float64(time.Since(began))/float64(time.Microsecond))
		}
	}
	slices.Sort(samples)
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"value": samples[n/2], "samples": samples})
}
