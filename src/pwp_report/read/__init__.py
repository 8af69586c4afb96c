"""Files of tables: text, Excel, columnar; what is in their cells."""
