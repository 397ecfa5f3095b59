package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"
)

// bulkBytes is how much one round moves.
const bulkBytes = 1 << 30

type bulk struct {
	BytesPerSecond float64 `json:"bytes_per_second"`
}

// benchRelay measures bulk throughput from one environment to another through
// the monitor, beside a direct TCP connection over the loopback.
func benchRelay() ([]measurement, error) {
	a, err := startApp(pairManifest, nil)
	if err != nil {
		return nil, err
	}
	defer a.stop()
	return one(compare("relayed connection, bulk", "GB/s", "direct loopback TCP", "≥ 0.4", 5,
		func() (float64, error) {
			var b bulk
			err := a.exec("a", &b, "role-bulk", "b:9000")
			return b.BytesPerSecond / 1e9, err
		},
		directBulk,
		func(r float64) bool { return r >= 0.4 }))
}

func directBulk() (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return 0, err
	}
	server := exec.Command(self, "role-bulk-serve")
	server.ExtraFiles = []*os.File{f}
	if err := server.Start(); err != nil {
		return 0, err
	}
	addr := l.Addr().String()
	l.Close()
	f.Close()
	out, err := exec.Command(self, "role-bulk", addr).Output()
	server.Process.Kill()
	server.Wait()
	if err != nil {
		return 0, err
	}
	var b bulk
	err = json.Unmarshal(out, &b)
	return b.BytesPerSecond / 1e9, err
}

func roleBulkServe() error {
	f := os.NewFile(3, "listener")
	l, err := net.FileListener(f)
	if err != nil {
		return err
	}
	sendBulk(l)
	return nil
}

// sendBulk sends bulkBytes to every connection.
func sendBulk(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			chunk := make([]byte, 128<<10)
			for sent := 0; sent < bulkBytes; sent += len(chunk) {
				if _, err := c.Write(chunk); err != nil {
					return
				}
			}
		}()
	}
}

func roleBulk(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	t := time.Now()
	buf := make([]byte, 128<<10)
	total := 0
	for {
		n, err := c.Read(buf)
		total += n
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if total != bulkBytes {
		return fmt.Errorf("%d bytes of %d arrived", total, bulkBytes)
	}
	return json.NewEncoder(os.Stdout).Encode(bulk{float64(total) / time.Since(t).Seconds()})
}
