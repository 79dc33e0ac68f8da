// The drawing of what benchmarks measured, pinned here so that the product's go.mod stays small.
module swallowkeeper/scripts/chart

go 1.26.0

replace swallowkeeper => ../..

require (
	github.com/go-analyze/charts v0.6.4
	swallowkeeper v0.0.0
)

require (
	github.com/dustin/go-humanize v1.0.1 // indirect
	github.com/go-analyze/bulk v0.1.6 // indirect
	github.com/golang/freetype v0.0.0-20170609003504-e2365dfdc4a0 // indirect
	golang.org/x/image v0.45.0 // indirect
)
