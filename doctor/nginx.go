package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"swallowkeeper/doctor/nginxtree"
	"swallowkeeper/internal/safetext"
)

// NginxSource tells where to read nginx's configuration.
type NginxSource struct {
	// Program is run with Args and -T. It is looked up in PATH, and then where distributions and Tengine install nginx.
	Program string
	Args    []string
	// File, if not "", is read instead: the output of nginx -T, or an nginx.conf with its includes; "-" is Stdin.
	File  string
	Stdin io.Reader
}

const maxDump = 256 << 20

// ReadNginx reads nginx's configuration. What it can't read becomes a finding; there may be both a tree and findings.
// elsewhere reports that paths may belong to another machine.
func ReadNginx(ctx context.Context, from NginxSource) (tree *nginxtree.Tree, elsewhere bool, found []Finding) {
	if from.File != "" {
		tree, elsewhere, err := readFile(from)
		if err != nil {
			return nil, true, []Finding{notExamined(from.File, err)}
		}
		return tree, elsewhere, nil
	}
	program, err := lookUp(from.Program)
	if err != nil {
		return nil, false, []Finding{notExamined(from.Program, err)}
	}
	stdout, stderr, err := runNginx(ctx, program, append(slices.Clone(from.Args), "-T"))
	if err == nil {
		tree, err = nginxtree.ReadDump(stdout)
		if err != nil {
			return nil, false, []Finding{notExamined(program, err)}
		}
		return tree, false, nil
	}
	if ctx.Err() != nil {
		return nil, false, []Finding{notExamined(program, fmt.Errorf("nginx -T did not end in "+
			"time: %w", ctx.Err()))}
	}
	found = []Finding{refusal(program, stderr, err)}
	// nginx prints nothing if it refuses the configuration: the files may tell more.
	main, err := mainFile(ctx, program, from.Args)
	if err == nil {
		tree, err = nginxtree.ReadDisk(main)
	}
	if err != nil {
		return nil, false, append(found, notExamined(program, err))
	}
	return tree, false, found
}

func notExamined(where string, err error) Finding {
	return Finding{
		Check: "nginx-unread", Severity: Unknown, Where: where,
		What: "nginx's configuration can't be read: " + safetext.Cut(safetext.Words(err.Error()), 300),
		Why:  "None of the checks of nginx's configuration was made.",
		Change: "Run it as root where nginx is, name nginx with --nginx PATH, or hand over what it prints: " +
			"nginx -T | swallowkeeper doctor --nginx-conf -",
	}
}

func readFile(from NginxSource) (*nginxtree.Tree, bool, error) {
	var text []byte
	var err error
	if from.File == "-" {
		text, err = io.ReadAll(io.LimitReader(from.Stdin, maxDump+1))
	} else {
		var f *os.File
		if f, err = os.Open(from.File); err == nil {
			defer f.Close()
			text, err = io.ReadAll(io.LimitReader(f, maxDump+1))
		}
	}
	switch {
	case err != nil:
		return nil, true, fmt.Errorf("read what nginx -T printed: %w", err)
	case len(text) > maxDump:
		return nil, true, fmt.Errorf("%s has more than %d bytes", from.File, maxDump)
	case nginxtree.IsDump(text) || from.File == "-":
		tree, err := nginxtree.ReadDump(text)
		return tree, true, err
	}
	tree, err := nginxtree.ReadDisk(from.File)
	return tree, false, err
}

// lookUp also finds nginx in folders that are not in an ordinary account's PATH.
func lookUp(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil || program != "nginx" {
		return path, err
	}
	for _, p := range []string{
		"/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/local/nginx/sbin/nginx",
		"/usr/local/openresty/nginx/sbin/nginx",
	} {
		if path, err := exec.LookPath(p); err == nil {
			return path, nil
		}
	}
	return "", err
}

func runNginx(ctx context.Context, program string, args []string) (stdout, stderr []byte, err error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	out, errs := &bounded{max: maxDump}, &bounded{max: 64 << 10}
	cmd.Stdout, cmd.Stderr = out, errs
	err = cmd.Run()
	if err == nil && out.over {
		err = fmt.Errorf("it printed more than %d bytes", maxDump)
	}
	return out.Bytes(), errs.Bytes(), err
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	bytes.Buffer
	max  int
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.max - b.Len(); len(p) > room {
		b.over = true
		b.Buffer.Write(p[:room])
	} else {
		b.Buffer.Write(p)
	}
	return len(p), nil
}

var (
	emergency = regexp.MustCompile(`\[emerg\] (?:[0-9]+#[0-9]+: )?(.*)`)
	place     = regexp.MustCompile(` in (\S+:[0-9]+)$`)
	noShard   = regexp.MustCompile(`^open\(\) "(/[^"]*/\.[^/"]+\.shards/[^/"]+)" failed`)
	confPath  = regexp.MustCompile(`--conf-path=('[^']*'|\S+)`)
	prefix    = regexp.MustCompile(`--prefix=('[^']*'|\S+)`)
)

// refusal returns a finding about an error of nginx. If only permissions were missing, the configuration is not at
// fault.
func refusal(program string, stderr []byte, err error) Finding {
	m := emergency.FindSubmatch(stderr)
	if m == nil {
		return notExamined(program, errors.Join(err, errors.New(string(bytes.TrimSpace(stderr)))))
	}
	said := strings.TrimSpace(string(m[1]))
	if strings.Contains(said, "(13: Permission denied)") || strings.Contains(said, "(1: Operation "+
		"not permitted)") {
		return notExamined(program, fmt.Errorf("nginx -T says: %s", said))
	}
	f := Finding{
		Check: "nginx-refuses", Severity: Problem, Where: program,
		What:   "nginx refuses its configuration: " + safetext.Cut(safetext.Words(said), 300),
		Why:    "The nginx that runs goes on, but a reload fails, and after a restart or reboot there is none.",
		Change: "Correct the line, then: nginx -t && nginx -s reload",
	}
	if shard := noShard.FindStringSubmatch(said); shard != nil {
		f = noShards(safetext.Cut(safetext.Words(shard[1]), 300))
		f.Where = program
	}
	if at := place.FindStringSubmatch(said); at != nil {
		f.Where = at[1]
	}
	return f
}

// mainFile returns the nginx.conf that nginx would read.
func mainFile(ctx context.Context, program string, args []string) (string, error) {
	root, conf := "", ""
	for i := 0; i+1 < len(args); i++ {
		switch args[i] {
		case "-p":
			root = args[i+1]
		case "-c":
			conf = args[i+1]
		}
	}
	_, about, err := runNginx(ctx, program, []string{"-V"})
	if err != nil {
		return "", fmt.Errorf("ask nginx where its nginx.conf is: %w", err)
	}
	option := func(re *regexp.Regexp, other string) string {
		if m := re.FindSubmatch(about); m != nil {
			return strings.Trim(string(m[1]), "'")
		}
		return other
	}
	if root == "" {
		root = option(prefix, "/usr/local/nginx")
	}
	if conf == "" {
		conf = option(confPath, "conf/nginx.conf")
	}
	if !filepath.IsAbs(conf) {
		conf = filepath.Join(root, conf)
	}
	return conf, nil
}
