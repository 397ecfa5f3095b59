package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestParseStatus(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int // 0 for malformed
	}{
		{"HTTP/1.1 200 OK\r\n", 200},
		{"HTTP/1.0 503 Service Unavailable\r\n", 503},
		{"HTTP/1.1 302 \r\n", 302},
		{"HTTP/1.1 204\r\n", 204},
		{"HTTP/1.1 204\n", 204},
		{"HTTP/1.1 204", 0}, // more may come
		{"HTTP/1.1 2000\r\n", 0},
		{"HTTP/1.1 099 x", 0},
		{"HTTP/1.1 -20 x", 0},
		{"HTTP/1.1  200 ", 0},
		{"HTTP/2.0 200 OK", 0},
		{"http/1.1 200 OK", 0},
		{"HTTP/1.x 200 OK", 0},
		{"SSH-2.0-OpenSSH_9.9", 0},
		{"", 0},
	} {
		got, err := ParseStatus([]byte(tt.in))
		if got != tt.want || (tt.want == 0) != errors.Is(err, ErrMalformed) {
			t.Errorf("ParseStatus(%q) = %d, %v, want %d", tt.in, got, err, tt.want)
		}
	}
}

// What is read as a status, the standard library reads as the same one.
func FuzzParseStatus(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 404\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		status, err := ParseStatus(b)
		if err != nil {
			return
		}
		line := fmt.Sprintf("%s\r\n\r\n", strings.TrimRight(string(b[:StatusSize]), " \r\n"))
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader([]byte(line))), nil)
		if err != nil || res.StatusCode != status {
			t.Errorf("ParseStatus(%q) = %d, and net/http: %v, %v", b, status, res, err)
		}
	})
}
