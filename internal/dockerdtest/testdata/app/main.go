// Command app is what test containers run. It says when it heeds signals. It answers over HTTP, ends on SIGTERM unless
// IGNORE is set, ends by itself on SIGWINCH, and is unhealthy from SIGUSR2 on until SIGUSR1. "app health" is its health check.
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const sick = "/sick"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "health" {
		if _, err := os.Stat(sick); err == nil {
			os.Exit(1)
		}
		return
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
	fmt.Println("ready")
	name, _ := os.Hostname()
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, name)
	})}
	go func() { _ = server.ListenAndServe() }()
	for s := range signals {
		switch s {
		case syscall.SIGUSR1:
			_ = os.Remove(sick)
		case syscall.SIGUSR2:
			_ = os.WriteFile(sick, nil, 0o600)
		case syscall.SIGWINCH:
			os.Exit(3)
		case syscall.SIGHUP:
		default:
			if os.Getenv("IGNORE") == "" {
				return
			}
		}
	}
}
