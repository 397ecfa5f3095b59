package main

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	subject = "bench.echo"
	patient = 10 * time.Second
)

// addressFile is where the server writes on which port it listens.
func addressFile(dir string) string { return filepath.Join(dir, "nats") }

func natsServer(dir string) error {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		return err
	}
	go s.Start()
	if !s.ReadyForConnections(patient) {
		return errors.New("the server does not become ready")
	}
	if err := os.WriteFile(addressFile(dir), []byte(s.ClientURL()), 0o644); err != nil {
		return err
	}
	ready()
	s.WaitForShutdown()
	return nil
}

func natsConnect(dir string) (*nats.Conn, error) {
	url, err := os.ReadFile(addressFile(dir))
	if err != nil {
		return nil, err
	}
	return nats.Connect(string(url))
}

func natsServe(dir string) error {
	c, err := natsConnect(dir)
	if err != nil {
		return err
	}
	if _, err := c.Subscribe(subject, func(m *nats.Msg) { m.Respond(m.Data) }); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return err
	}
	ready()
	select {}
}

func natsCall(dir string, size, n int) error {
	c, err := natsConnect(dir)
	if err != nil {
		return err
	}
	defer c.Close()
	return measure(size, n, func(body []byte) ([]byte, error) {
		m, err := c.Request(subject, body, patient)
		if err != nil {
			return nil, err
		}
		return m.Data, nil
	})
}
