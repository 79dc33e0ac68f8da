// It takes the place of github.com/hashicorp/go-discover in the Consul that tests run: see its doc.
module github.com/hashicorp/go-discover

go 1.25
