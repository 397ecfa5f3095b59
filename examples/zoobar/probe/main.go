// Command probe finds out, from inside an environment, what can be reached. It
// is put into the services by the end-to-end test and run with cofferdam exec.
//
//	probe connect HOST:PORT...   says "open" or "closed" for each
//	probe call NAME...           makes each call with {} and says how it ended
//	probe exists PATH...         says "yes" or "no" for each
//	probe act COOKIE             acts for the person of that session, in every way, and says how it ended
//
// Trusted: no. Tests only.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"cofferdam/sdk"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "probe: want connect, call, exists or act, and of what")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(what string, of []string) error {
	switch what {
	case "connect":
		for _, addr := range of {
			fmt.Println(addr, connect(addr))
		}
	case "call":
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		c, err := sdk.Connect(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		for _, name := range of {
			_, err := c.Call(ctx, name, []byte("{}"))
			fmt.Println(name, verdict(err))
		}
	case "exists":
		for _, path := range of {
			_, err := os.Stat(path)
			fmt.Println(path, map[bool]string{true: "yes", false: "no"}[err == nil])
		}
	case "act":
		return act(of[0])
	default:
		return fmt.Errorf("%q is not connect, call, exists or act", what)
	}
	return nil
}

func connect(addr string) string {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "closed"
	}
	c.Close()
	return "open"
}

// verdict tells a refusal by the monitor apart from whatever the service said.
func verdict(err error) string {
	switch {
	case errors.Is(err, sdk.ErrDenied):
		return "denied"
	case err == nil, errors.Is(err, sdk.ErrFailed), errors.Is(err, sdk.ErrMalformed):
		return "answered"
	}
	return err.Error()
}
