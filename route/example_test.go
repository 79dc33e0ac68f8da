package route_test

import (
	"fmt"

	"swallowkeeper/route"
)

// Of several routes the most special one takes a request, whatever order they are written in.
func ExampleMatch() {
	var routes []route.Belonging
	for text, to := range map[string]string{
		"/orders/*": "orders",
		"/orders/{id:[0-9]+}/items rewrite=/{id}": "items",
		"shop.example/orders/*":                   "shop",
	} {
		r, err := route.ParseText(text, to)
		if err != nil {
			fmt.Println(err)
			return
		}
		routes = append(routes, route.Belonging{Route: r, Upstream: to})
	}
	for _, host := range []string{"shop.example", "other.example"} {
		for _, verdict := range route.Match(routes, "GET", host, "/orders/42/items") {
			if verdict.Takes {
				fmt.Println(host, "->", verdict.Upstream, verdict.To)
			}
		}
	}
	// Output:
	// shop.example -> shop /orders/42/items
	// other.example -> items /42
}

// What a registration says is checked: no text of it leaves its place in a gateway's configuration.
func ExampleRegistered() {
	_, err := route.Registered("/a;b", "web", nil)
	fmt.Println(err)
	// Output: path "/a;b": ';' is not allowed in a path
}
