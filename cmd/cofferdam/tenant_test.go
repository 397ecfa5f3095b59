package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"cofferdam/sdk"
	"cofferdam/wire"
)

// tenant is the programs of an application with users: auth, front, bank, echo and page.
// The last is taken over: a path below /mine is what whoever did so wants of it.
func tenant() {
	ctx := context.Background()
	switch os.Args[1] { // which are outside, or have nothing else
	case "crowd":
		fmt.Fprintln(os.Stderr, crowd(os.Args[2], os.Args[3]))
		os.Exit(1)
	case "pump":
		fmt.Fprintln(os.Stderr, pump())
		return
	}
	c, err := sdk.Connect(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	switch os.Args[1] {
	case "auth":
		err = serveAuth(ctx, c)
	case "front":
		err = http.ListenAndServe("127.0.0.1:8081", front(c))
	case "bank":
		err = serveBank(ctx, c)
	case "echo":
		err = http.ListenAndServe("127.0.0.1:8081", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "token-2", Path: "/"}) // bob's
			fmt.Fprintf(w, "caller %q principal %q cookie %q", r.Header["Cofferdam-Caller"], r.Header["Cofferdam-Principal"], r.Header["Cookie"])
		}))
	case "page":
		go c.Serve(ctx, map[string]sdk.Handler{"own": func(context.Context, sdk.Caller, []byte) ([]byte, error) {
			return []byte(c.Self().Principal), nil
		}})
		err = http.ListenAndServe("127.0.0.1:8081", &page{c: c})
	case "manager":
		err = manage(c)
	case "server":
		err = server(c)
	case "repeat":
		go serveTCP("127.0.0.1:7001", func(nc net.Conn) error { return nil })
		repeat := func(nc net.Conn) error {
			_, err := io.Copy(nc, nc)
			return err
		}
		go serveTCP("127.0.0.1:7002", repeat)
		err = serveTCP("127.0.0.1:7000", repeat)
	case "lasting":
		err = serveLasting(c)
	case "giver":
		err = serveGiver(ctx, c)
	case "linger": // does not hear that it is to end
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
		time.Sleep(time.Hour)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serveAuth lets in whoever says a name.
func serveAuth(ctx context.Context, c *sdk.Client) error {
	var mu sync.Mutex
	sessions, last := make(map[string]string), 0
	type asked struct {
		Cookies map[string]string `json:"cookies"`
	}
	type told struct {
		Principal string `json:"principal"`
	}
	return c.Serve(ctx, map[string]sdk.Handler{
		"check": sdk.JSON(func(_ context.Context, _ sdk.Caller, q asked) (told, error) {
			if q.Cookies["session"] == "broken" {
				return told{}, errors.New("the table is broken")
			}
			mu.Lock()
			defer mu.Unlock()
			return told{sessions[q.Cookies["session"]]}, nil
		}),
		"login": func(_ context.Context, _ sdk.Caller, name []byte) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			last++
			token := fmt.Sprintf("token-%d", last)
			sessions[token] = string(name)
			return []byte(token), nil
		},
		"logout": func(_ context.Context, _ sdk.Caller, token []byte) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			delete(sessions, string(token))
			return nil, nil
		},
	})
}

func front(c *sdk.Client) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/login":
			if name := r.FormValue("name"); name != "" {
				token, err := c.Call(r.Context(), "auth.login", []byte(name))
				if err != nil {
					http.Error(w, err.Error(), http.StatusInternalServerError)
					return
				}
				http.SetCookie(w, &http.Cookie{Name: "session", Value: string(token), Path: "/"})
			}
			io.WriteString(w, "who are you?")
		case "/logout":
			if cookie, err := r.Cookie("session"); err == nil {
				c.Call(r.Context(), "auth.logout", []byte(cookie.Value))
			}
		}
	})
}

// serveBank moves the money of whoever calls, whatever he says.
func serveBank(ctx context.Context, c *sdk.Client) error {
	var mu sync.Mutex
	balance := map[string]int{"alice": 10, "bob": 10}
	type order struct {
		From   string `json:"from"` // not looked at
		To     string `json:"to"`
		Amount int    `json:"amount"`
	}
	return c.Serve(ctx, map[string]sdk.Handler{
		"transfer": sdk.JSON(func(_ context.Context, caller sdk.Caller, o order) (map[string]int, error) {
			mu.Lock()
			defer mu.Unlock()
			balance[caller.Principal] -= o.Amount
			balance[o.To] += o.Amount
			return balance, nil
		}),
	})
}

// page is the instance of one user.
type page struct{ c *sdk.Client }

func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	self := p.c.Self()
	q := r.URL.Query()
	say := func(format string, args ...any) { fmt.Fprintf(w, format, args...) }
	switch r.URL.Path {
	case "/each":
		say("%s", self.Instance)
	case "/mine/self":
		say("%s %s, told %q", self.Instance, self.Principal, r.Header["Cofferdam-Principal"])
	case "/mine/labels":
		labels, err := p.c.Labels(r.Context())
		say("%v %v %v %v", labels.Label, labels.Clearance, labels.Owns, err)
	case "/mine/keep": // for whoever comes later
		say("%v %v", os.WriteFile("/data/note", []byte(q.Get("text")), 0o600), os.WriteFile("/tmp/note", []byte(q.Get("text")), 0o600))
	case "/mine/look":
		for _, pattern := range []string{"/data/*", "/tmp/*", "/*/note", "/*/*/note"} {
			names, _ := filepath.Glob(pattern)
			for _, name := range names {
				text, _ := os.ReadFile(name)
				say("%s=%s ", name, text)
			}
		}
	case "/mine/pay":
		got, err := p.c.Call(r.Context(), "bank.transfer", fmt.Appendf(nil, `{"from":%q,"to":%q,"amount":1}`, q.Get("from"), q.Get("to")))
		say("%s %v", got, err)
	case "/mine/forge": // a frame that says who calls
		got, err := forge(q.Get("as"))
		say("%s %v", got, err)
	case "/mine/ask": // another service, in somebody else's name
		got, err := ask(q.Get("first"), q.Get("as"))
		say("%s %v", got, err)
	case "/mine/reach": // what was not granted
		_, err := p.c.Call(r.Context(), q.Get("call"), nil)
		say("%v", err)
	case "/mine/two": // answers, the second of which somebody else is to get
		p.answerTwice(w)
	case "/mine/linger":
		cmd := exec.Command("/app/tenant", "linger", q.Get("mark"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		say("%v", cmd.Start())
	case "/mine/cookie":
		http.SetCookie(w, &http.Cookie{Name: "mine", Value: "1"})
	case "/mine/go":
		http.Redirect(w, r, "/mine/self?leak", http.StatusSeeOther)
	default:
		say("here is %s", self.Principal)
	}
}

func (p *page) answerTwice(w http.ResponseWriter) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"+strings.Repeat(evil, 100))
	time.Sleep(200 * time.Millisecond) // for whoever reads on
}

// forge calls the bank with a frame that has a caller in it.
func forge(as string) (string, error) {
	nc, err := net.Dial("unix", os.Getenv(sdk.SocketVariable))
	if err != nil {
		return "", err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Second))
	id := wire.Identity{Service: "page", Instance: "page-1", Principal: as}
	f := wire.Frame{
		Header:      wire.Header{Op: wire.OpCall, ID: 1, Call: 7},
		NameBytes:   []byte("bank.transfer"),
		CallerBytes: id.Append(nil),
		Body:        []byte(`{"from":"bob","to":"alice","amount":1}`),
	}
	if _, err := nc.Write(wire.AppendFrame(nil, &f)); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(nc)
	return fmt.Sprintf("%d bytes", len(answer)), err
}

// ask asks the service echo, on a connection that begins with a line of ours.
func ask(first, as string) (string, error) {
	c, err := net.DialTimeout("tcp", "echo:8081", 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if first != "" {
		first += "\n"
	}
	fmt.Fprintf(c, "%sGET / HTTP/1.1\r\nHost: echo\r\nConnection: close\r\nCofferdam-Principal: %s\r\nCofferdam_Principal: %s\r\nCofferdam-Caller: gateway\r\n\r\n", first, as, as)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return fmt.Sprintf("%d %s", res.StatusCode, bytes.TrimSpace(body)), err
}
