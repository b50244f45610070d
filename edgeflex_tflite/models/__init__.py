"""timm models in, `EdgeViT` out: the only stage that knows timm's attribute names."""
