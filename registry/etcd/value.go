package etcd

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"swallowkeeper/internal/safetext"
	"swallowkeeper/internal/setting"
)

const (
	// mostText limits foreign text that is kept, in bytes.
	mostText = 200
	// mostValue is the maximum length of a value that is parsed.
	mostValue = 64 << 10
)

// own is a value of the layout swallowkeeper. A misspelt field could send traffic to an instance that is down, so
// unknown fields are an error.
type own struct {
	Address     *string           `json:"address"`
	Weight      *int              `json:"weight"`
	MaxFails    *int              `json:"max_fails"`
	FailTimeout *string           `json:"fail_timeout"`
	MaxConns    *int              `json:"max_conns"`
	Backup      bool              `json:"backup"`
	Healthy     *bool             `json:"healthy"`
	Tags        []string          `json:"tags"`
	Routes      []json.RawMessage `json:"routes"`
}

func readOwn(value []byte) (s parsed, err error) {
	var v *own
	if err := decode(value, &v, true); err != nil {
		return s, err
	}
	if v == nil {
		return s, noField.Err("address")
	}
	if v.Address == nil {
		if !bytes.Equal(bytes.Join(bytes.Fields(value), nil), []byte("{}")) {
			return s, noField.Err("address")
		}
		s.marker = true
		return s, nil
	}
	if s.host, s.port, err = hostPort(*v.Address); err != nil {
		return s, err
	}
	s.weight, s.maxFails, s.maxConns, s.backup = v.Weight, v.MaxFails, v.MaxConns, v.Backup
	s.unhealthy = v.Healthy != nil && !*v.Healthy
	if v.FailTimeout != nil {
		d, err := setting.ParseDuration(*v.FailTimeout)
		if err != nil || d%time.Second != 0 || d < 0 || d/time.Second > math.MaxInt32 {
			return s, badField.Err("fail_timeout", safetext.Quote(*v.FailTimeout))
		}
		n := int(d / time.Second)
		s.failTimeout = &n
	}
	for _, raw := range v.Routes {
		c, err := readClaim(raw)
		if err != nil {
			return s, err
		}
		s.routes = append(s.routes, c)
	}
	return s, nil
}

// readClaim parses a route: a text as in a label, or an object with its parts.
func readClaim(raw json.RawMessage) (c claim, err error) {
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte{'"'}) {
		return c, decode(raw, &c.text, true)
	}
	var o struct {
		Host      string   `json:"host"`
		Path      string   `json:"path"`
		Methods   []string `json:"methods"`
		Strip     any      `json:"strip"`
		Rewrite   *string  `json:"rewrite"`
		Timeout   *string  `json:"timeout"`
		Auth      *string  `json:"auth"`
		WebSocket *bool    `json:"websocket"`
	}
	if err := decode(raw, &o, true); err != nil {
		return c, err
	}
	c = claim{text: o.Host + o.Path, beside: map[string]string{}}
	if len(o.Methods) > 0 {
		c.beside["methods"] = strings.Join(o.Methods, ",")
	}
	switch strip := o.Strip.(type) {
	case nil:
	case bool:
		c.beside["strip"] = strconv.FormatBool(strip)
	case string:
		c.beside["strip"] = strip
	default:
		return c, badField.Err("strip", "value other than true, false or a path")
	}
	for key, value := range map[string]*string{"rewrite": o.Rewrite, "timeout": o.Timeout, "auth": o.Auth} {
		if value != nil {
			c.beside[key] = *value
		}
	}
	if o.WebSocket != nil {
		c.beside["websocket"] = strconv.FormatBool(*o.WebSocket)
	}
	return c, nil
}

// readChipmunks parses values of Chipmunks' agent. The port is a number; 0 means that nothing was published.
func readChipmunks(value []byte) (s parsed, err error) {
	var v struct {
		Host *struct {
			IP   *string `json:"ip"`
			Port *number `json:"port"`
		} `json:"host"`
		Auth      *string `json:"auth_backend"`
		Bypass    *bool   `json:"auth_bypass"`
		Authorize bool    `json:"authorize"` // it is what others are asked about
	}
	if err := decode(value, &v, false); err != nil {
		return s, err
	}
	switch {
	case v.Host == nil:
		return s, noField.Err("host")
	case v.Host.IP == nil:
		return s, noField.Err("host.ip")
	case v.Host.Port == nil:
		return s, noField.Err("host.port")
	}
	s.host, s.port = *v.Host.IP, int(*v.Host.Port)
	switch {
	case v.Authorize, v.Bypass != nil && *v.Bypass:
		s.open = true
	case v.Auth != nil && *v.Auth != "":
		s.auth = *v.Auth
	case v.Auth != nil, v.Bypass != nil: // Chipmunks asks its [auth] backend then
		s.guarded = true
	}
	return s, nil
}

// readEndpoint parses an endpoint of etcd's package naming.
func readEndpoint(value []byte) (s parsed, err error) {
	var v struct {
		Op   int
		Addr *string
	}
	if err := decode(value, &v, false); err != nil {
		return s, err
	}
	switch {
	case v.Op != 0:
		return s, isDeletion.Err()
	case v.Addr == nil:
		return s, noField.Err("Addr")
	}
	s.host, s.port, err = hostPort(*v.Addr)
	return s, err
}

// readRegistrator parses values of registrator: host:port, or an object with skydns2.
func readRegistrator(value []byte) (s parsed, err error) {
	text := strings.TrimSpace(string(value))
	if !strings.HasPrefix(text, "{") {
		s.host, s.port, err = hostPort(text)
		return s, err
	}
	var v struct {
		Host *string `json:"host"`
		Port *number `json:"port"`
	}
	if err := decode(value, &v, false); err != nil {
		return s, err
	}
	switch {
	case v.Host == nil:
		return s, noField.Err("host")
	case v.Port == nil:
		return s, noField.Err("port")
	}
	s.host, s.port = *v.Host, int(*v.Port)
	return s, nil
}

// number is a number that may be quoted.
type number int

// UnmarshalJSON accepts 80 and "80".
func (n *number) UnmarshalJSON(text []byte) error {
	v, err := strconv.Atoi(strings.Trim(string(text), `"`))
	if err != nil {
		return noPort.Err(safetext.Quote(string(text)))
	}
	*n = number(v)
	return nil
}

var unknownField = regexp.MustCompile(`^json: unknown field (".*")$`)

// decode parses a complete JSON value, and describes errors in plain words.
func decode(value []byte, into any, strict bool) error {
	if len(value) > mostValue {
		return tooLong.Err(len(value), mostValue)
	}
	from := json.NewDecoder(bytes.NewReader(value))
	if strict {
		from.DisallowUnknownFields()
	}
	err := from.Decode(into)
	if err == nil {
		if _, err = from.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		return noJSON.Err("there is more behind the end")
	}
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field == "":
		return noObject.Err(wrong.Value)
	case errors.As(err, &wrong):
		return badField.Err(safetext.Quote(wrong.Field), wrong.Value)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return noJSON.Err("it ends too early")
	}
	if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
		return noSuchField.Err(safetext.Cut(m[1], mostText))
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return noJSON.Err(safetext.Cut(safetext.OneLine(err.Error()), mostText))
	}
	return err
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
