-- One row per line of an invoice, as the shop's register wrote it, with clean names. Nothing is left out; flags say what a line is.
-- materialized: table
-- checks: range(unit_price, -100000, 100000)  range(quantity, -100000, 100000)
--
-- The grain is the line, which has no key: the same item may stand twice on one invoice.
select
  "InvoiceNo" as invoice,
  -- The register knew `85123a` and `85123A`; they are one item.
  upper(trim("StockCode")) as item_id,
  nullif(trim("Description"), '') as description,
  -- Databases have narrower integers than files; the models see one type.
  cast("Quantity" as bigint) as quantity,
  "InvoiceDate" as sold_at,
  cast("UnitPrice" as decimal(12, 3)) as unit_price,
  nullif(trim("CustomerID"), '') as customer_id,
  "Country" as country,
  -- Invoices that begin with C cancel an earlier one; their quantities are negative.
  "InvoiceNo" like 'C%' as is_cancelled,
  -- A sale hands something over for money; the rest are cancellations, stock corrections and gifts.
  "InvoiceNo" not like 'C%' and "Quantity" > 0 and "UnitPrice" > 0 as is_sale,
  -- Products have a code that begins with five digits, or with DCGS (the shop's second range). What is left are postage (POST, DOT, C2),
  -- manual entries (M), discounts (D), samples (S), fees (BANK CHARGES, AMAZONFEE, CRUK), bad debt (B), vouchers (GIFT_…) and PADS.
  upper(trim("StockCode")) ~ '^([0-9]{5}|DCGS).*$' as is_product
from raw.retail_lines
